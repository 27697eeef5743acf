"""What a policy asks of a token, on the command line."""

from __future__ import annotations

from tests.cli.running import OWNER_ID, REPOSITORY_ID, Tenure

WHO = (
    "--name=Release", "--package-owner=acme", "--package-owner-kind=organization", "--created-by=alice", "--owner=octo",
    f"--owner-id={OWNER_ID}", "--repository=widgets", f"--repository-id={REPOSITORY_ID}", "--workflow=release.yml",
)  # fmt: skip
SHARED = "labs/shared/.github/workflows/publish.yml@refs/tags/v*"
ASKED = (
    "--ref=refs/tags/v*", "--ref=refs/heads/main", "--ref-protected", f"--called-workflow={SHARED}", "--runner=github-hosted",
    "--event=push", "--package=acme.*", "--package=widgets", "--action=publish",
)  # fmt: skip


def test_what_is_asked_is_registered_shown_and_explained(tenure: Tenure) -> None:
    tenure.done("policy", "register", "--id", "p1", *WHO, *ASKED)
    (shown,) = tenure.done("policy", "show", "p1", "--json").objects
    asked = {
        "refs": ["refs/tags/v*", "refs/heads/main"], "ref_protected": True, "called_workflow": SHARED, "runner": "github-hosted",
        "events": ["push"], "packages": ["acme.*", "widgets"], "actions": ["publish"],
    }  # fmt: skip
    assert {name: shown["view"][name] for name in asked} == asked
    rows = {row[1]: row[2] for row in tenure.done("policy", "show", "p1").rows if row[0] == "view"}
    assert (rows["refs"], rows["ref protected"], rows["called workflow"]) == (
        "refs/tags/v*, refs/heads/main",
        "yes",
        SHARED,
    )
    told = tenure.done("policy", "explain", "p1").out
    assert "It asks more of a token: refs: refs/tags/v*, refs/heads/main; ref protected: yes; called workflow: " in told
    # An update says the whole.
    tenure.done("policy", "register", "--id", "p1", *WHO)
    (plain,) = tenure.done("policy", "show", "p1", "--json").objects
    assert not plain["view"].keys() & asked.keys()
    assert "It asks more" not in tenure.done("policy", "explain", "p1").out


def test_what_is_wrong_names_its_option(tenure: Tenure) -> None:
    for option, value in (
        ("--ref", "main"),
        ("--called-workflow", "publish.yml"),
        ("--event", "!"),
        ("--runner", "linux"),
    ):
        ended = tenure("policy", "register", "--id", "p1", *WHO, f"{option}={value}")
        assert ended.code == 2, option
        assert option in ended.err, ended.err
