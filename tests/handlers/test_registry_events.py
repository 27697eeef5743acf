"""What the registry, the exchange and operators send → what is learnt from it."""

from __future__ import annotations

import json

import pytest

from handlers.base import EXCHANGE, OPERATOR, REGISTRY, UnusableEventError
from handlers.table import ACTIONS, EVENTS, handle
from tenure_reader.rules import DIFFERENCES
from tests.support import (
    CREATOR,
    JSON,
    MAX_ID,
    NAME,
    OWNER,
    PACKAGE_OWNER,
    POLICY,
    REPOSITORY,
    RULES,
    USER,
    WORKFLOW,
    incoming,
    knowing,
    registration_data,
    without,
)
from worker.lifecycle import scopes
from worker.lifecycle.conditions import RegisteredConditions
from worker.lifecycle.decide import decide, watched_scopes
from worker.lifecycle.facts import Basis, Observation, ObservationSource, Value
from worker.lifecycle.logins import EVERY, LoginOutcome
from worker.lifecycle.registration import Registration, decode, encode

ABOUT = scopes.policy(POLICY)
HERE = scopes.repository(OWNER, REPOSITORY)
REGISTERED = Registration(
    name="publish",
    package_owner=PACKAGE_OWNER,
    package_owner_kind="organization",
    creator=CREATOR,
    creator_github_id=USER,
    repository_owner="octo",
    repository_owner_id=OWNER,
    repository=NAME,
    repository_id=REPOSITORY,
    visibility="private",
    workflow_file=WORKFLOW,
    environment=None,
)
LOGIN: dict[str, JSON] = {
    "policy_id": POLICY,
    "repository_id": REPOSITORY,
    "repository_owner_id": OWNER,
    "jti": "token-1",
    "run_id": 12,
    "actor": "maria-gh",
}
MEMBER: dict[str, JSON] = {"package_owner": PACKAGE_OWNER, "account": CREATOR}
MEMBERSHIP = scopes.package_member(PACKAGE_OWNER, CREATOR)
ACCOUNT = scopes.account(CREATOR)

LABS = "labs/shared/.github/workflows/publish.yml"

SAID: dict[str, tuple[JSON, str, str, Value, tuple[str, ...]]] = {
    "policy.registered": (registration_data(), ABOUT, "registration", encode(REGISTERED), (HERE,)),
    "policy.updated": (registration_data(), ABOUT, "registration", encode(REGISTERED), (HERE,)),
    "policy.renewed": ({"policy_id": POLICY}, ABOUT, "renewal", True, ()),
    "policy.removed": ({"policy_id": POLICY, "reason": "no longer used"}, ABOUT, "removed", True, ()),
    "policy.held": ({"policy_id": POLICY, "reason": "incident"}, ABOUT, "held", True, ()),
    "policy.released": ({"policy_id": POLICY, "reason": None}, ABOUT, "held", False, ()),
    "login.succeeded": (LOGIN, ABOUT, "login", f"{REPOSITORY}:{OWNER}", ()),
    "account.locked": ({"account": CREATOR}, ACCOUNT, "locked", True, ()),
    "account.unlocked": ({"account": CREATOR}, ACCOUNT, "locked", False, ()),
    "account.deleted": ({"account": CREATOR}, ACCOUNT, "deleted", True, ()),
    "account.restored": ({"account": CREATOR}, ACCOUNT, "deleted", False, ()),
    "package_owner.member_removed": (MEMBER, MEMBERSHIP, "left", True, ()),
    "package_owner.member_added": (MEMBER, MEMBERSHIP, "left", False, ()),
}
"""What the event is called → its data, and scope, aspect and value of the one observation, and who is checked."""


@pytest.mark.parametrize("name", SAID)
def test_an_event_is_translated(name: str) -> None:
    data, scope, aspect, value, checks = SAID[name]
    kind = EXCHANGE if name == "login.succeeded" else REGISTRY if name in EVENTS else OPERATOR
    said = incoming(name, data, kind=kind)
    handled = handle(said)
    assert handled.checks == checks
    assert [(o.scope, o.aspect, o.value) for o in handled.observations] == [(scope, aspect, value)]
    # The registry decides its own matters, so its word is no mere hint.
    assert [(o.at, o.basis, o.source) for o in handled.observations] == [(said.at, Basis.PROOF, said.source)]


def test_every_entry_of_the_tables_has_its_case() -> None:
    assert {*SAID, "policy.imported", "login.refused"} == {*EVENTS, *ACTIONS}


def test_of_a_refusal_nothing_is_learnt_and_what_is_kept_is_named() -> None:
    """Given a refusal with more than is asked for, when it is translated, then it is counted, without what was not named."""
    data: JSON = {
        "policy_id": POLICY, "code": "environment", "ref": "refs/heads/main", "run_id": str(MAX_ID), "actor": "maria-gh",
        "token": "eyJhbGciOi", "jti": "token-1",
    }  # fmt: skip
    handled = handle(incoming("login.refused", data, kind=EXCHANGE, at=77))
    assert (handled.observations, handled.checks) == ((), ())
    assert handled.login is not None
    assert (handled.login.policy_id, handled.login.outcome, handled.login.at) == (POLICY, LoginOutcome.REFUSED, 77)
    assert list(handled.login.names) == [EVERY, "environment"]
    assert json.loads(handled.login.names[EVERY]) == {
        "code": "environment", "id": "d-1", "ref": "refs/heads/main", "run_id": MAX_ID, "actor": "maria-gh",
    }  # fmt: skip


def test_a_login_is_counted_with_what_is_known_of_its_run() -> None:
    handled = handle(incoming("login.succeeded", {**LOGIN, "actor": "x" * 100_000}, kind=EXCHANGE))
    assert handled.login is not None
    assert handled.login.outcome is LoginOutcome.SUCCEEDED
    assert json.loads(handled.login.names[EVERY]) == {"id": "d-1", "run_id": 12, "actor": "x" * 200}


def test_a_login_on_a_self_hosted_runner_says_so_and_no_other_takes_it_back() -> None:
    """Given a matrix of both kinds of runners, then a policy is told once, and not by each run anew."""
    for runner, told in (("self-hosted", [True]), ("github-hosted", []), (None, []), ("Self-Hosted", [])):
        observations = handle(incoming("login.succeeded", {**LOGIN, "runner": runner}, kind=EXCHANGE)).observations
        assert [o.value for o in observations if o.aspect == "self_hosted"] == told, runner


@pytest.mark.parametrize("code", ["", "Environment", "two words", "a-b", "*", "1st", "x" * 65, "é", "a\n", 7, None])
def test_a_code_is_one_short_word(code: JSON) -> None:
    with pytest.raises(UnusableEventError, match="code"):
        handle(incoming("login.refused", {"policy_id": POLICY, "code": code}, kind=EXCHANGE))


def test_every_code_of_the_reader_may_be_sent() -> None:
    for code in DIFFERENCES:
        assert handle(incoming("login.refused", {"policy_id": POLICY, "code": code}, kind=EXCHANGE)).login


def test_an_imported_policy_keeps_the_times_the_weight_and_the_sources_of_what_was_observed() -> None:
    told = [
        (encode(REGISTERED), 5, ABOUT, "registration", "proof", REGISTRY, "e-1", "policy.registered"),
        (True, 6, HERE, "archived", "hint", "github", "d-1", "repository.archived"),
    ]
    handled = handle(incoming("policy.imported", {"policy_id": POLICY, "facts": told}, kind=OPERATOR))
    assert [(o.value, o.at, o.scope, o.aspect, str(o.basis), *o.source) for o in handled.observations] == told


def test_what_an_import_gives_is_for_its_own_policy_alone() -> None:
    def row(value: JSON, at: int, scope: str, aspect: str) -> JSON:
        return [value, at, scope, aspect, "proof", "github", "d-1", "repository.seen"]

    name = scopes.name(REGISTERED.repository_owner_id, REGISTERED.repository)
    taken = [row(True, 6, HERE, "archived"), row(True, 6, scopes.account(REGISTERED.creator), "locked")]
    given: list[JSON] = [
        row(True, 7, HERE, "verified"),
        row("public", 7, HERE, "visibility"),
        row(True, 7, name, f"held_by:{REGISTERED.repository_id}"),
        # It says itself that this is over.
        [True, 6, HERE, "deleted", "hint", "github", "d-1", "repository.deleted"],
        row(False, 7, HERE, "deleted"),
    ]
    registration: JSON = [encode(REGISTERED), 5, ABOUT, "registration", "proof", REGISTRY, "e", "e"]
    facts: list[JSON] = [registration, *taken, *given]
    handled = handle(incoming("policy.imported", {"policy_id": POLICY, "facts": facts}, kind=OPERATOR))
    assert {(o.scope, o.aspect) for o in handled.observations} == {
        (ABOUT, "registration"), (HERE, "archived"), (scopes.account(REGISTERED.creator), "locked"),
    }  # fmt: skip
    assert len(handled.aside) == len(given)


@pytest.mark.parametrize(
    "row",
    [
        ["[]", 5, ABOUT, "registration", "proof", REGISTRY, "e", "e"],
        [None, 5, ABOUT, "registration", "proof", REGISTRY, "e", "e"],
        ["7", 5, ABOUT, "login", "proof", EXCHANGE, "e", "e"],
        [True, 5, scopes.policy("another"), "held", "proof", OPERATOR, "e", "e"],
        [True, -1, ABOUT, "held", "proof", OPERATOR, "e", "e"],
        [True, 5, "nowhere", "held", "proof", OPERATOR, "e", "e"],
        [True, 5, ABOUT, "held", "rumour", OPERATOR, "e", "e"],
        [True, 5, ABOUT, "held", "proof", OPERATOR, "e"],
    ],
)
def test_an_import_that_does_not_fit_is_refused_whole(row: JSON) -> None:
    registration: JSON = [encode(REGISTERED), 5, ABOUT, "registration", "proof", REGISTRY, "e", "e"]
    with pytest.raises(UnusableEventError, match=r"policy\.imported: .*facts"):
        handle(incoming("policy.imported", {"policy_id": POLICY, "facts": [registration, row]}, kind=OPERATOR))


def test_a_fact_of_whatever_a_policy_watches_may_be_imported() -> None:
    """What is exported of a policy can be imported, whatever it names."""
    asked = RegisteredConditions(refs=("refs/tags/v*", "refs/heads/früh/100%"), called_workflow=f"{LABS}@refs/tags/v*")
    for registration in (
        REGISTERED._replace(environment="Ré lease", asked=asked),
        REGISTERED._replace(repository_id=None, workflow_file=LABS),
    ):
        text = encode(registration)
        said = Observation(ABOUT, "registration", text, 5, Basis.PROOF, ObservationSource(REGISTRY, "e", "e"))
        standing = decide(knowing([said]).facts, POLICY, 6, RULES)
        assert standing is not None
        # Of a file with another repository's name in it nothing is ever said under one's own.
        nobody_s = {scopes.workflow(place.scope, LABS) for place in standing.tenure.places}
        watched = watched_scopes(standing.tenure, POLICY) - nobody_s
        assert {scope.partition(":")[0] for scope in watched} >= {"workflow", "called", "account"}
        facts: list[JSON] = [[text, 5, ABOUT, "registration", "proof", REGISTRY, "e", "e"]]
        facts += [[False, 6, scope, "missing", "proof", "github", "d-1", "check"] for scope in sorted(watched)]
        handle(incoming("policy.imported", {"policy_id": POLICY, "facts": facts}, kind=OPERATOR))


@pytest.mark.parametrize(
    ("scope", "kind"),
    [
        (scopes.member(REGISTERED.repository_owner_id, 6), "member"),
        (scopes.member(42, REGISTERED.creator_github_id or 0), "member"),
        (scopes.owner(42), "owner"),
        (scopes.repository(REGISTERED.repository_owner_id, 8), "repository"),
        (scopes.unbound(REGISTERED.repository_owner_id, "others"), "unbound"),
        (scopes.name(42, REGISTERED.repository), "name"),
        (scopes.collaborator(HERE, 6), "collaborator"),
        (scopes.workflow(HERE, "other.yml"), "workflow"),
        (scopes.account("somebody"), "account"),
        (scopes.package_member(REGISTERED.package_owner, "somebody"), "package-member"),
    ],
)
def test_an_import_brings_nothing_that_its_policy_never_watched(scope: str, kind: str) -> None:
    registration: JSON = [encode(REGISTERED), 5, ABOUT, "registration", "proof", REGISTRY, "e", "e"]
    alien: JSON = [True, 6, scope, "left", "hint", "github", "d-1", "organization.member_removed"]
    with pytest.raises(UnusableEventError, match=rf"facts\.1: is about another {kind} than"):
        handle(incoming("policy.imported", {"policy_id": POLICY, "facts": [registration, alien]}, kind=OPERATOR))


def test_an_import_without_a_registration_is_refused() -> None:
    with pytest.raises(UnusableEventError, match="registration"):
        handle(incoming("policy.imported", {"policy_id": POLICY, "facts": []}, kind=OPERATOR))


def test_an_event_that_nobody_knows_is_kept_for_an_operator() -> None:
    with pytest.raises(UnusableEventError, match=r"policy\.exploded: nothing listens"):
        handle(incoming("policy.exploded", {}, kind=REGISTRY))


def registered(**github: JSON) -> Registration:
    handled = handle(incoming("policy.registered", registration_data(**github), kind=REGISTRY))
    return decode(str(handled.observations[0].value))


@pytest.mark.parametrize("written", [MAX_ID, str(MAX_ID)])
def test_ids_keep_every_digit_whether_numbers_or_text(written: JSON) -> None:
    found = registered(repository_owner_id=written, repository_id=written)
    assert (found.repository_owner_id, found.repository_id) == (MAX_ID, MAX_ID)
    login = {**LOGIN, "repository_id": written, "repository_owner_id": written}
    assert handle(incoming("login.succeeded", login, kind=EXCHANGE)).observations[0].value == f"{MAX_ID}:{MAX_ID}"


def test_what_is_optional_may_be_left_out_or_null() -> None:
    data = registration_data()
    github = data["github"]
    creator = data["created_by"]
    assert isinstance(github, dict)
    assert isinstance(creator, dict)
    bare: dict[str, JSON] = {
        **data,
        "github": without(github, "repository_id", "visibility", "environment"),
        "created_by": without(creator, "github_user_id"),
    }
    nulls: dict[str, JSON] = {
        **data,
        "github": {**github, "repository_id": None, "visibility": None, "environment": None},
        "created_by": {**creator, "github_user_id": None},
    }
    expected = REGISTERED._replace(repository_id=None, visibility=None, environment=None, creator_github_id=None)
    for given in (bare, nulls, {**nulls, "something_new": {"deep": [None]}}):
        handled = handle(incoming("policy.registered", given, kind=REGISTRY))
        assert decode(str(handled.observations[0].value)) == expected


# Inputs that people get wrong


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("widgets", "widgets"),
        ("  widgets  ", "widgets"),
        ("Widgets", "Widgets"),
        ("widgets.git", "widgets"),
        ("widgets.js", "widgets.js"),
        (".github", ".github"),
        ("octo/widgets", "widgets"),
        ("octo/widgets/", "widgets"),
        ("/octo/widgets", "widgets"),
        ("octo/widgets.js", "widgets.js"),
        ("octo/.github", ".github"),
        ("octo/widgets#readme", "widgets"),
        ("github.com/octo/widgets", "widgets"),
        ("https://github.com/octo/widgets", "widgets"),
        ("http://github.com/octo/widgets", "widgets"),
        ("https://github.com/octo/widgets/", "widgets"),
        ("https://github.com/octo/widgets.git", "widgets"),
        ("https://github.com/octo/widgets.git/", "widgets"),
        ("https://github.com/octo/widgets?tab=readme-ov-file", "widgets"),
        ("https://github.com/octo/widgets/tree/main/src", "widgets"),
        ("https://GitHub.COM/octo/Widgets", "Widgets"),
        ("https://www.github.com/octo/widgets", "widgets"),
        ("https://git.acme.example/octo/widgets", "widgets"),
        ("git@github.com:octo/widgets.git", "widgets"),
        ("git@git.acme.example:octo/widgets.git", "widgets"),
        ("ssh://git@github.com/octo/widgets.git", "widgets"),
        ("ssh://git@github.com:22/octo/widgets.git", "widgets"),
        ("HTTPS://GitHub.com/octo/widgets", "widgets"),
        ("https://user:token@github.com/octo/widgets", "widgets"),
        ("https://github.com:443/octo/widgets", "widgets"),
        ("https://ghe/octo/widgets", "widgets"),
        ("git://github.com/octo/widgets.git", "widgets"),
        ("git+https://github.com/octo/widgets.git", "widgets"),
        ("https://github.com/octo/widgets/releases/tag/v1", "widgets"),
        ("OCTO/widgets", "widgets"),
        ("octo\\widgets", "widgets"),
    ],
)
def test_of_a_repositorys_address_the_name_is_meant(given: str, name: str) -> None:
    assert registered(repository=given).repository == name


@pytest.mark.parametrize(
    "given",
    [
        *("", " ", "/", "?", "wid gets", "octo/wid$gets", "w" * 101, "ä", ".", "..", "octo/..", "widgets.js/"),
        *("https://github.com/", "https://github.com/octo", "https://github.com/octo/", "a/b/c/widgets"),
        *("https://gitlab.com/octo/widgets", "https://www.Bitbucket.org/octo/widgets", "https://github.com/apps/octo"),
        *("https://github.com/orgs/octo", "github.com/orgs/octo/repositories", "octo/widgets/made/up"),
        *("https://github.com/somebody-else/widgets", "evil/widgets", "git@github.com:evil/widgets.git"),
    ],
)
def test_what_names_no_repository_is_refused(given: str) -> None:
    with pytest.raises(UnusableEventError, match=r"github\.repository: "):
        registered(repository=given)


@pytest.mark.parametrize(
    ("given", "file"),
    [
        ("release.yml", "release.yml"),
        (" release.yml ", "release.yml"),
        (".github/workflows/release.yml", "release.yml"),
        ("/.github/workflows/release.yml", "release.yml"),
        ("release@v2.yaml", "release@v2.yaml"),
        ("./.github/workflows/release.yml", "release.yml"),
        ("octo/shared/.github/workflows/publish.yml", "octo/shared/.github/workflows/publish.yml"),
        ("/octo/shared/.github/workflows/publish.yml", "octo/shared/.github/workflows/publish.yml"),
        ("octo/widgets/.github/workflows/release.yml", "release.yml"),
        ("Octo/Widgets/.github/workflows/Release.yml", "Release.yml"),
        (".GitHub/Workflows/release.yml", "release.yml"),
        (".github\\workflows\\release.yml", "release.yml"),
        (".github/workflows\\release.yml", "release.yml"),
        ("octo\\widgets\\.github\\workflows\\release.yml", "release.yml"),
        (".github//workflows//release.yml", "release.yml"),
        ("my release.YAML", "my release.YAML"),
        ("release@refs.yml", "release@refs.yml"),
        ("octo/.github/.github/workflows/publish.yml", "octo/.github/.github/workflows/publish.yml"),
        ("https://raw.githubusercontent.com/octo/widgets/main/.github/workflows/release.yml", "release.yml"),
        ("https://github.com/octo/widgets/raw/refs/heads/main/.github/workflows/release.yml", "release.yml"),
        ("https://github.com/octo/widgets/blob/main/.github/workflows/release.yml", "release.yml"),
        ("github.com/octo/widgets/blob/main/.github/workflows/release.yml", "release.yml"),
        ("https://github.com/octo/widgets/.github/workflows/release.yml", "release.yml"),
        ("https://github.com/octo/widgets/blob/main/.github/workflows/my%20release.yml", "my release.yml"),
        ("https://github.com/octo/widgets/actions/workflows/release.yml", "release.yml"),
        ("github.com/octo/widgets/actions/workflows/release.yml?query=branch%3Amain", "release.yml"),
        ("https://github.com/octo/shared/actions/workflows/p.yml", "octo/shared/.github/workflows/p.yml"),
        ("https://github.com/octo/widgets/blob/feature/x/.github/workflows/release.yml?plain=1#L3", "release.yml"),
        (
            "HTTPS://git.acme.example/octo/shared/blob/v1/.github/workflows/publish.yml",
            "octo/shared/.github/workflows/publish.yml",
        ),
    ],
)
def test_of_a_workflows_path_the_file_is_meant(given: str, file: str) -> None:
    assert registered(workflow_file=given).workflow_file == file


@pytest.mark.parametrize("given", ["https://github.com/stars/octo", "github.com/about/octo", "security"])
def test_a_page_of_github_s_is_no_owner(given: str) -> None:
    with pytest.raises(UnusableEventError, match=r"github\.repository_owner: "):
        registered(repository_owner=given)


@pytest.mark.parametrize(
    "given", ["e" * 256, "rel,ease", "rel\\ease", "'release'", "a;b", "`x`", "${{ inputs.environment }}"]
)
def test_no_job_has_such_an_environment(given: str) -> None:
    with pytest.raises(UnusableEventError, match=r"github\.environment: "):
        registered(environment=given)


@pytest.mark.parametrize("given", ["e" * 255, "pypi (prod)", "Größe/1", "a.b:c", "{x}"])
def test_others_may_be(given: str) -> None:
    assert registered(environment=given).environment == given


@pytest.mark.parametrize(
    "given",
    [
        *(".github/workflows/", "/", "/.github/workflows/", "workflows/", "octo/widgets/.github/workflows/"),
        *("https://github.com/octo/widgets", "https://github.com/octo/widgets/actions/workflows/"),
        *("octo/.github/workflows/release.yml", "a/b/c/.github/workflows/release.yml", "release.yml/", ".yml"),
    ],
)
def test_a_directory_is_no_workflow(given: str) -> None:
    with pytest.raises(UnusableEventError, match=r"github\.workflow_file: "):
        registered(workflow_file=given)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("Publish Package", "display name"),
        ("release", "display name"),
        ("release.yml.txt", "display name"),
        (".github/workflows/release", "display name"),
        (".github/workflows/npm/release.yml", "sub-folder"),
        ("npm/release.yml", "sub-folder"),
        ("https://github.com/octo/widgets/blob/main/.github/workflows/npm/release.yml", "sub-folder"),
        ("release.yml@refs/heads/main", "without @"),
        ("release.yml@v1", "without @"),
        ("octo/widgets/.github/workflows/release.yml@refs/tags/v1.yml/x", "without @"),
        ("octo/shared/.github/workflows/publish.yml@main", "without @"),
        ("https://github.com/octo/widgets/blob/main/.github/workflows/release.yml%40main", "without @"),
        ("https://github.com/octo/widgets/blob/main/.github/workflows/npm%2Frelease.yml", "sub-folder"),
        ("https://github.com/evil/widgets/blob/main/.github/workflows/release.yml", "another owner"),
        ("github.com/evil/widgets/actions/workflows/release.yml", "another owner"),
        ("https://raw.githubusercontent.com/evil/widgets/main/.github/workflows/release.yml", "another owner"),
        ("https://gitlab.com/octo/widgets/blob/main/.github/workflows/release.yml", "another host"),
        ("www.GitLab.com/octo/widgets/actions/workflows/release.yml", "another host"),
        ("*.yml", "one file"),
        ("release.yml, ci.yml", "one file"),
        ("rel\u200bease.yml", "display name"),
    ],
)
def test_what_can_never_match_or_would_match_more_is_refused_with_the_form_that_is_wanted(
    given: str, told: str
) -> None:
    with pytest.raises(UnusableEventError, match=r"github\.workflow_file: ") as caught:
        registered(workflow_file=given)
    assert told in str(caught.value)
    assert "release.yml" in str(caught.value)


def test_a_repository_of_another_owner_is_said_to_be_one() -> None:
    with pytest.raises(UnusableEventError, match=r"github\.repository: .*repository_owner"):
        registered(repository="https://user:hunter2@github.com/evil/widgets")


@pytest.mark.parametrize(
    ("given", "login"),
    [
        ("octo", "octo"),
        (" octo ", "octo"),
        ("@octo", "octo"),
        ("octo/widgets", "octo"),
        ("https://github.com/octo", "octo"),
        ("https://github.com/octo/", "octo"),
        ("https://git.acme.example/octo/widgets", "octo"),
        ("github.com/octo", "octo"),
        ("HTTPS://github.com/octo", "octo"),
        ("git@github.com:octo/widgets.git", "octo"),
        ("github.com/orgs/octo", "octo"),
        ("https://github.com/orgs/octo/people", "octo"),
        ("https://github.com/organizations/octo/settings/profile", "octo"),
        ("https://github.com/sponsors/octo", "octo"),
    ],
)
def test_of_an_owners_address_the_login_is_meant(given: str, login: str) -> None:
    assert registered(repository_owner=given).repository_owner == login


@pytest.mark.parametrize(
    ("given", "environment"),
    [(None, None), ("", None), ("  ", None), ("production", "production"), (" Production ", "Production")],
)
def test_a_blank_environment_is_none(given: JSON, environment: str | None) -> None:
    assert registered(environment=given).environment == environment


@pytest.mark.parametrize("given", ["rel\nease", "rel\u200bease", "a\x00b"])
def test_an_environment_that_no_job_has_is_refused(given: str) -> None:
    with pytest.raises(UnusableEventError, match=r"github\.environment: "):
        registered(environment=given)


def test_a_fact_of_a_workflow_file_is_imported() -> None:
    told = [
        (encode(REGISTERED), 5, ABOUT, "registration", "proof", REGISTRY, "e-1", "policy.registered"),
        (True, 6, scopes.workflow(scopes.repository(OWNER, 7), WORKFLOW), "missing", "hint", "github", "d-1", "push"),
    ]
    assert (
        len(handle(incoming("policy.imported", {"policy_id": POLICY, "facts": told}, kind=OPERATOR)).observations) == 2
    )


def test_what_is_known_of_a_called_workflow_of_another_owner_is_imported() -> None:
    """An exported policy is one that can be imported, whatever it has learnt."""
    calling = REGISTERED._replace(workflow_file="labs/shared/.github/workflows/publish.yml")
    later = scopes.called("labs-new", "shared")
    told = [
        (encode(calling), 5, ABOUT, "registration", "proof", REGISTRY, "e-1", "policy.registered"),
        ("40:labs-new", 6, scopes.called_owner("labs"), "renamed_to", "hint", "github", "d-1", "organization.renamed"),
        (True, 7, later, "deleted", "hint", "github", "d-2", "repository.deleted"),
        (True, 8, scopes.workflow(later, "publish.yml"), "missing", "hint", "github", "d-3", "push"),
    ]
    body = {"policy_id": POLICY, "facts": told}
    handled = handle(incoming("policy.imported", body, kind=OPERATOR))
    assert len(handled.observations) + len(handled.aside) == 4
    elsewhere = (True, 9, scopes.called("other", "shared"), "deleted", "hint", "github", "d-4", "repository.deleted")
    with pytest.raises(UnusableEventError, match=r"facts\.4: "):
        handle(incoming("policy.imported", {"policy_id": POLICY, "facts": [*told, elsewhere]}, kind=OPERATOR))
