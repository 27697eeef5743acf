"""What cannot be used says which field is wrong, and never repeats what was in it."""

from __future__ import annotations

import json
import timeit
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.base import EXCHANGE, GITHUB, REGISTRY, Handled, UnusableEventError
from handlers.table import ACTIONS, EVENTS, WEBHOOKS, handle, webhook_handler, webhook_name
from tests.support import (
    JSON,
    MAX_ID,
    NAME,
    OWNER,
    REPOSITORY,
    account,
    incoming,
    installation,
    person,
    registration_data,
    repository,
    without,
)
from worker.lifecycle import scopes
from worker.lifecycle.owners import id_of

QUICK = 0.005
"""Seconds in which a registration is read, whatever is in it: fifty times what it takes."""
CANARY = "canary-5f0c"
SAMPLES = Path(__file__).parents[3] / "shared" / "data" / "github-webhooks"


@pytest.mark.parametrize(
    ("name", "body", "field"),
    [
        ("repository.archived", {}, "repository: "),
        ("repository.archived", {"repository": None}, "repository: "),
        ("repository.archived", {"repository": CANARY}, "repository: "),
        ("repository.archived", {"repository": repository(CANARY)}, "repository.id: "),
        ("repository.archived", {"repository": repository(7.0)}, "repository.id: "),
        ("repository.archived", {"repository": repository(True)}, "repository.id: "),
        ("repository.archived", {"repository": repository(-1)}, "repository.id: "),
        ("repository.archived", {"repository": repository(MAX_ID + 1)}, "repository.id: "),
        ("repository.archived", {"repository": repository("9" * 5000)}, "repository.id: "),
        ("repository.archived", {"repository": {**repository(), "name": 7}}, "repository.name: "),
        ("repository.archived", {"repository": repository(owner=None)}, "repository.owner.id: "),
        ("repository.archived", {"repository": repository(owner={"login": CANARY})}, "repository.owner.id: "),
        ("organization.deleted", {"organization": None}, "organization: "),
        ("organization.member_removed", {"organization": account(), "membership": CANARY}, "membership: "),
        ("member.added", {"repository": repository(), "member": {"login": CANARY}}, "member.id: "),
        ("installation.deleted", {"installation": None}, "installation: "),
        ("installation_target.renamed", {"account": {"login": CANARY}}, "account.id: "),
        ("push", {"ref": [CANARY], "repository": repository()}, "ref: "),
        ("team.created", [CANARY], "body: "),
    ],
)
def test_a_webhook_that_does_not_fit_names_the_field_and_not_the_value(name: str, body: JSON, field: str) -> None:
    with pytest.raises(UnusableEventError) as caught:
        handle(incoming(name, body))
    message = str(caught.value)
    assert message.startswith(f"{name}: {field}")
    assert CANARY not in message
    # Nor is the value in what a traceback would show beside it.
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("repository.archived", {"repository": repository(visibility=[CANARY], default_branch=7)}),
        ("repository.archived", {"repository": repository(owner={"id": OWNER, "login": [CANARY], "name": 7})}),
        ("repository.archived", {"repository": repository(), "changes": [CANARY]}),
        ("repository.renamed", {"repository": repository(), "changes": [CANARY]}),
        ("organization.renamed", {"organization": account(), "changes": CANARY}),
        ("member.added", {"repository": repository(), "member": person(), "changes": CANARY}),
    ],
)
def test_a_signed_hint_is_not_refused_for_a_part_that_nobody_needs(name: str, body: dict[str, JSON]) -> None:
    without_it = {**body, "changes": None}
    handled = handle(incoming(name, body))
    assert {scopes.owner_id_of(scope) for scope in handled.checks} == {OWNER}
    assert handled.observations == handle(incoming(name, without_it)).observations
    assert CANARY not in repr(handled)


@pytest.mark.parametrize("body", [{"organization": CANARY}, {"repository": {"id": CANARY}}, {"installation": 7}])
def test_a_call_to_check_whose_owner_cannot_be_read_checks_nobody(body: JSON) -> None:
    assert handle(incoming("team.created", body)) == Handled()


def test_a_call_to_check_takes_the_owner_that_can_be_read() -> None:
    body: JSON = {"organization": {"id": CANARY}, "repository": repository()}
    assert handle(incoming("team.created", body)) == Handled(
        checks=(scopes.repository(OWNER, REPOSITORY), scopes.unbound(OWNER, NAME))
    )


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"policy_id": None}, "policy_id: "),
        ({"policy_id": ""}, "policy_id: "),
        ({"policy_id": CANARY * 30}, "policy_id: "),
        ({"name": [CANARY]}, "name: "),
        ({"package_owner": {"account": CANARY, "kind": CANARY}}, "package_owner.kind: "),
        ({"created_by": {"github_user_id": 5}}, "created_by.account: "),
        ({"created_by": {"account": "maria", "github_user_id": 1.5}}, "created_by.github_user_id: "),
        ({"github": registration_data(repository_owner_id=None)["github"]}, "github.repository_owner_id: "),
        ({"github": registration_data(repository=f"{CANARY} {CANARY}")["github"]}, "github.repository: "),
        ({"github": registration_data(visibility=CANARY)["github"]}, "github.visibility: "),
        ({"github": registration_data(environment=CANARY * 200)["github"]}, "github.environment: "),
        ({"github": registration_data(workflow_file=None)["github"]}, "github.workflow_file: "),
    ],
)
def test_a_registration_that_does_not_fit_names_the_field_and_not_the_value(
    change: dict[str, JSON], field: str
) -> None:
    with pytest.raises(UnusableEventError) as caught:
        handle(incoming("policy.registered", {**registration_data(), **change}, kind=REGISTRY))
    message = str(caught.value)
    assert message.startswith(f"policy.registered: {field}")
    assert CANARY not in message


def test_every_wrong_field_is_named() -> None:
    data: dict[str, JSON] = without(registration_data(repository_id=CANARY, visibility=CANARY), "name")
    with pytest.raises(UnusableEventError) as caught:
        handle(incoming("policy.registered", data, kind=REGISTRY))
    assert [part.partition(":")[0].strip() for part in str(caught.value).partition(": ")[2].split("; ")] == [
        "name",
        "github.repository_id",
        "github.visibility",
    ]


NOT_OBJECTS = [
    b"",
    b"null",
    b"[]",
    b'"canary-5f0c"',
    b'{"repository": canary-5f0c',
    b'{"repository": {"id": NaN}}',
    b"\xff\xfe",
    b'{"repository": "\\ud800"}',
    b'{"repository": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
]


@pytest.mark.parametrize("body", NOT_OBJECTS, ids=range(len(NOT_OBJECTS)))
@pytest.mark.parametrize("name", ["repository.archived", "push", "organization.deleted"])
def test_a_body_that_is_no_object_is_unusable(name: str, body: bytes) -> None:
    with pytest.raises(UnusableEventError) as caught:
        handle(incoming(name, body))
    assert CANARY not in str(caught.value)


# Anything at all

ids = st.one_of(st.integers(-1, 2**64), st.integers(0, MAX_ID).map(str), st.floats(), st.none(), st.booleans())
leaves = st.one_of(
    st.none(), st.booleans(), ids, st.text(max_size=12), st.sampled_from(["user", "public", "a/b", "main"])
)
NAMES = [
    *("repository", "organization", "installation", "account", "owner", "member", "membership", "user", "changes"),
    *("id", "name", "login", "from", "to", "permission", "role_name", "visibility", "default_branch", "ref"),
    *("repositories_added", "repositories_removed", "commits", "added", "modified", "removed"),
    *("policy_id", "package_owner", "created_by", "github", "kind", "github_user_id", "repository_owner"),
    *("repository_owner_id", "repository_id", "workflow_file", "environment", "jti", "run_id", "actor", "reason"),
]
keys = st.one_of(st.sampled_from(NAMES), st.text(max_size=5))
anything = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=6)),
    max_leaves=20,
)
HEARD = [(GITHUB, name.replace("*", "anything")) for name in WEBHOOKS]
SAID = [(REGISTRY, name) for name in {**EVENTS, **ACTIONS}]
events = st.sampled_from(sorted(HEARD + SAID))


def answered(kind: str, name: str, body: object) -> None:
    """Whatever it is, it is handled, or refused in the one way that the inbox knows."""
    try:
        handled = handle(incoming(name, body, kind=kind))
    except UnusableEventError:
        return
    assert isinstance(handled, Handled)
    assert all(0 <= id_of(scopes.owner_id_of(scope) or 0) <= MAX_ID for scope in handled.checks)
    assert not any(" " in observation.scope for observation in handled.observations)


@given(events, st.dictionaries(keys, anything, max_size=8))
def test_any_object_is_handled_or_refused(event: tuple[str, str], body: dict[str, object]) -> None:
    answered(*event, body)


whole: dict[str, dict[str, JSON]] = {
    GITHUB: {
        "repository": repository(),
        "organization": account(),
        "installation": installation(),
        "account": account(),
        "member": person(),
        "membership": {"user": person(), "state": "active"},
        "changes": {"repository": {"name": {"from": "gizmos"}}, "owner": {"from": {"user": person()}}},
        "ref": "refs/heads/main",
        "commits": [{"added": [".github/workflows/a.yml"], "modified": [], "removed": []}],
        "repositories_added": [{"id": 1, "name": "w"}],
        "repositories_removed": [],
    },
    REGISTRY: {
        **registration_data(),
        "repository_id": 7,
        "repository_owner_id": 41,
        "jti": "t",
        "account": "maria",
    },
}


@given(events, st.data())
def test_a_fitting_body_with_anything_in_one_place_is_handled_or_refused(
    event: tuple[str, str], data: st.DataObject
) -> None:
    body: dict[str, object] = json.loads(json.dumps(whole[event[0]]))
    at = body
    while True:
        name = data.draw(st.sampled_from(sorted(at)))
        inner = at[name]
        if not isinstance(inner, dict) or not inner or data.draw(st.booleans()):
            break
        at = inner
    at[name] = data.draw(anything)
    answered(*event, body)


@given(st.text(max_size=60))
def test_any_text_as_a_repository_is_a_name_or_refused(given_text: str) -> None:
    answered(REGISTRY, "policy.registered", registration_data(repository=given_text))


@pytest.mark.parametrize("text", ["." * 1000, "a." * 500, "/" * 1000, "a.a/" * 250, "@:" * 500, "git@" + "a." * 498])
def test_no_text_takes_long_to_read(text: str) -> None:
    """The quickest of some readings: whatever else this machine does, one of them has it for itself."""
    body = registration_data(repository=text, repository_owner=text, workflow_file=text)
    assert min(timeit.repeat(lambda: answered(REGISTRY, "policy.registered", body), number=1, repeat=20)) < QUICK


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="left out: the sample payloads are not beside this checkout")
def test_real_payloads_are_handled() -> None:
    heard = 0
    for path in sorted(SAMPLES.glob("*.json")):
        body = path.read_bytes()
        name = webhook_name(path.name.split(".")[0], json.loads(body).get("action"))
        if webhook_handler(name) is not None:
            assert isinstance(handle(incoming(name, body)), Handled), path.name
            heard += 1
    assert heard


def test_the_exchange_and_the_registry_share_one_table() -> None:
    data: JSON = {"policy_id": "p", "repository_id": 1, "repository_owner_id": 2, "jti": "j"}
    for kind in (EXCHANGE, REGISTRY):
        assert handle(incoming("login.succeeded", data, kind=kind)).observations[0].source.kind == kind


@pytest.mark.parametrize(
    "policy_id", ["a\nb", "a\tb", "a\x00", "a\x1b[2J", "a\u202eb", "a\u2028b", "a\x85b", ".", ".."]
)
def test_an_id_that_could_not_be_read_back_is_refused(policy_id: str) -> None:
    for name, data in (
        ("policy.registered", {**registration_data(), "policy_id": policy_id}),
        ("policy.removed", {"policy_id": policy_id}),
    ):
        with pytest.raises(UnusableEventError, match="policy_id: ") as caught:
            handle(incoming(name, data, kind=REGISTRY))
        assert len(policy_id) < 3 or policy_id not in str(caught.value)
