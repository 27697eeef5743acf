"""Each webhook that is heard, as GitHub sends it → what is learnt from it, and whom it asks to check."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import pytest

from handlers.base import Handled, UnusableEventError
from handlers.table import WEBHOOKS, handle, webhook_handler, webhook_name
from tests.support import (
    JSON,
    MAX_ID,
    NAME,
    OWNER,
    REPOSITORY,
    USER,
    WORKFLOW,
    account,
    incoming,
    installation,
    person,
    repository,
)
from worker.lifecycle import scopes
from worker.lifecycle.facts import Basis, Value

HERE = scopes.repository(OWNER, REPOSITORY)
BY_NAME = scopes.unbound(OWNER, NAME)
HELD_NAME = scopes.name(OWNER, NAME)
ADDRESS = scopes.called("octo", NAME)
OWNER_SCOPE = scopes.owner(OWNER)
HOLDER = f"held_by:{REPOSITORY}"

Learnt: TypeAlias = set[tuple[str, str, Value]]


def event(**fields: JSON) -> dict[str, JSON]:
    """A webhook about a repository, with what GitHub adds to all of them."""
    return {"repository": repository(), "organization": account(), "sender": person(77, "somebody"), **fields}


def organization_event(**fields: JSON) -> dict[str, JSON]:
    return {"organization": account(), "sender": person(77, "somebody"), **fields}


def membership(user: dict[str, JSON] | None) -> dict[str, JSON]:
    return organization_event(membership={"url": "", "state": "active", "role": "member", "user": user})


def both(aspect: str, value: Value, *, name: str = NAME, owner: int = OWNER) -> Learnt:
    return {
        (scopes.repository(owner, REPOSITORY), aspect, value),
        (scopes.unbound(owner, name), aspect, value),
    }


def access(lost: bool) -> Learnt:
    return {(scopes.collaborator(scope, USER), "lost", lost) for scope in (HERE, BY_NAME)}


def workflow(missing: bool, file: str = WORKFLOW) -> Learnt:
    return {(scopes.workflow(scope, file), "missing", missing) for scope in (HERE, BY_NAME, ADDRESS)}


def member(**changes: JSON) -> dict[str, JSON]:
    return event(member=person(), **({"changes": changes} if changes else {}))


def pushed(*commits: JSON, ref: str = "refs/heads/main") -> dict[str, JSON]:
    # In this one event the owner has a name beside its login.
    place = repository(owner={**account(), "name": "octo", "email": None})
    return {"ref": ref, "before": "0" * 40, "after": "1" * 40, "repository": place, "commits": list(commits)}


def commit(*, added: Sequence[str] = (), modified: Sequence[str] = (), removed: Sequence[str] = ()) -> dict[str, JSON]:
    return {"id": "c", "added": list(added), "modified": list(modified), "removed": list(removed)}


INSTALLED: JSON = {"installation": installation(), "repositories": [{"id": REPOSITORY, "name": NAME}]}
NOTHING_INSTALLED: JSON = {"installation": installation(), "repositories": None}
LISTED: JSON = {"id": REPOSITORY, "name": NAME, "full_name": f"octo/{NAME}", "private": True}
INSTALLATION = 900
ENTERPRISE: JSON = {
    "installation": installation(
        account={"id": OWNER, "slug": "octo-corp", "name": "Octo Corp"}, target_type="Enterprise"
    ),
    "repositories": [{"id": REPOSITORY, "name": NAME}],
    "repositories_removed": [{"id": REPOSITORY, "name": NAME}],
}
"""An enterprise with the number of an owner."""
GHOST: JSON = {
    "installation": installation(account=None, target_id=0, target_type="Organization") | {"target_id": None}
}
"""Its account is gone."""
HELD: Learnt = {(HELD_NAME, HOLDER, True)}
OLD_OWNER = 40
SEES_SOME: Learnt = {(OWNER_SCOPE, f"blind:{INSTALLATION}", False), (OWNER_SCOPE, f"narrowed:{INSTALLATION}", True)}
SEES_ALL: Learnt = {(OWNER_SCOPE, f"narrowed:{INSTALLATION}", False)}
SEES_SELECTED: Learnt = {(OWNER_SCOPE, f"narrowed:{INSTALLATION}", True)}
ABOUT_REPOSITORY = {HERE, BY_NAME}
ABOUT_OWNER = {OWNER_SCOPE}
ABOUT_MEMBER = {scopes.member(OWNER, USER)}

HEARD: dict[str, list[tuple[JSON, Learnt, set[str]]]] = {
    "repository.archived": [
        (event(), both("archived", True), ABOUT_REPOSITORY),
        (event(repository=repository(owner=None)), both("archived", True), ABOUT_REPOSITORY),
    ],
    "repository.unarchived": [(event(), both("archived", False), ABOUT_REPOSITORY)],
    "repository.created": [
        (
            event(),
            {(HELD_NAME, HOLDER, True), (HERE, "deleted", False)}
            | {(BY_NAME, aspect, False) for aspect in ("deleted", "archived", "transferred")},
            {HERE, BY_NAME, HELD_NAME},
        )
    ],
    "repository.deleted": [
        (event(), both("deleted", True) | {(HELD_NAME, HOLDER, False), (ADDRESS, "deleted", True)}, ABOUT_REPOSITORY)
    ],
    "repository.renamed": [
        (
            event(changes={"repository": {"name": {"from": "gizmos"}}}),
            {
                (HERE, "name", NAME),
                (HELD_NAME, HOLDER, True),
                (scopes.unbound(OWNER, "gizmos"), "renamed_to", NAME),
                (scopes.name(OWNER, "gizmos"), HOLDER, False),
                (scopes.called("octo", "gizmos"), "renamed_to", f"{REPOSITORY}:{NAME}"),
            },
            {HERE, BY_NAME, HELD_NAME, scopes.unbound(OWNER, "gizmos")},
        ),
        (event(), {(HERE, "name", NAME), (HELD_NAME, HOLDER, True)}, {HERE, BY_NAME, HELD_NAME}),
    ],
    "repository.transferred": [
        *(
            (
                event(changes={"owner": {"from": {kind: account(OLD_OWNER, "former")}}}),
                both("transferred", True, owner=OLD_OWNER)
                | both("transferred", False)
                | {(scopes.name(OLD_OWNER, NAME), HOLDER, False), (HELD_NAME, HOLDER, True)}
                | {(scopes.called("former", NAME), "transferred", True)},
                ABOUT_REPOSITORY | {scopes.repository(OLD_OWNER, REPOSITORY), scopes.unbound(OLD_OWNER, NAME)},
            )
            for kind in ("organization", "user")
        ),
        (
            event(
                changes={
                    "owner": {"from": {"user": None, "organization": account(OLD_OWNER, "former")}},
                    "repository": {"name": {"from": "gizmos"}},
                }
            ),
            both("transferred", True, owner=OLD_OWNER, name="gizmos")
            | both("transferred", False)
            | {(scopes.name(OLD_OWNER, "gizmos"), HOLDER, False), (HELD_NAME, HOLDER, True)}
            | {(scopes.called("former", "gizmos"), "transferred", True)},
            ABOUT_REPOSITORY | {scopes.repository(OLD_OWNER, REPOSITORY), scopes.unbound(OLD_OWNER, "gizmos")},
        ),
        (
            event(changes={"owner": {"from": {"user": None}}}),
            both("transferred", False) | HELD,
            ABOUT_REPOSITORY,
        ),
    ],
    "repository.privatized": [
        (event(), both("visibility", "private"), ABOUT_REPOSITORY),
        (event(repository=repository(visibility="internal")), both("visibility", "internal"), ABOUT_REPOSITORY),
        (
            event(repository=repository(visibility="public", private=True)),
            both("visibility", "private"),
            ABOUT_REPOSITORY,
        ),
    ],
    "repository.publicized": [(event(), both("visibility", "public"), ABOUT_REPOSITORY)],
    "public": [(event(), both("visibility", "public"), ABOUT_REPOSITORY)],
    "organization.member_removed": [
        (membership(person()), {(scopes.member(OWNER, USER), "left", True)}, ABOUT_MEMBER),
        (membership(None), set(), ABOUT_OWNER),
        (organization_event(), set(), ABOUT_OWNER),
    ],
    "organization.member_added": [
        (membership(person()), {(scopes.member(OWNER, USER), "left", False)}, ABOUT_MEMBER),
        (membership(None), set(), ABOUT_OWNER),
    ],
    "organization.deleted": [
        (
            organization_event(membership=None),
            {(OWNER_SCOPE, "deleted", True), (scopes.called_owner("octo"), "deleted", True)},
            ABOUT_OWNER,
        )
    ],
    "member.removed": [
        (member(), access(lost=True), ABOUT_REPOSITORY),
        (event(member=None), set(), ABOUT_REPOSITORY),
    ],
    "member.added": [
        (member(permission={"to": "write"}), access(lost=False), ABOUT_REPOSITORY),
        (member(), access(lost=False), ABOUT_REPOSITORY),
        (member(permission={"to": "read"}), access(lost=True), ABOUT_REPOSITORY),
        (member(role_name={"to": "triage"}), access(lost=True), ABOUT_REPOSITORY),
        (member(role_name={"to": "release crew"}), access(lost=False), ABOUT_REPOSITORY),
        (member(role_name={"to": "security-reviewer"}, permission={"to": "read"}), access(lost=True), ABOUT_REPOSITORY),
        (event(member=None, changes=None), set(), ABOUT_REPOSITORY),
    ],
    "member.edited": [
        (member(permission={"from": "write", "to": "read"}), access(lost=True), ABOUT_REPOSITORY),
        (
            member(old_permission={"from": "admin"}, permission={"from": "admin", "to": "triage"}),
            access(True),
            ABOUT_REPOSITORY,
        ),
        (member(permission={"from": "read", "to": "maintain"}), access(lost=False), ABOUT_REPOSITORY),
        (member(role_name={"from": "read", "to": "admin"}), access(lost=False), ABOUT_REPOSITORY),
        (member(role_name={"from": "read", "to": "release crew"}), set(), ABOUT_REPOSITORY),
        (
            member(role_name={"to": "crew"}, permission={"from": "read", "to": "write"}),
            access(lost=False),
            ABOUT_REPOSITORY,
        ),
        (member(old_permission={"from": "write"}), set(), ABOUT_REPOSITORY),
        (event(member=person(), changes=None), set(), ABOUT_REPOSITORY),
        (event(member=None, changes={"permission": {"to": "read"}}), set(), ABOUT_REPOSITORY),
    ],
    "membership.added": [(organization_event(scope="team", member=person(), team={"id": 1}), set(), ABOUT_MEMBER)],
    "membership.removed": [(organization_event(scope="team", member=None, team=None), set(), ABOUT_OWNER)],
    "team.created": [(organization_event(team={"id": 1, "name": "crew"}), set(), ABOUT_OWNER)],
    "team.removed_from_repository": [(event(team={"id": 1, "name": "crew"}), set(), ABOUT_REPOSITORY)],
    "team_add": [(event(team={"id": 1, "name": "crew"}), set(), ABOUT_REPOSITORY)],
    "org_block.blocked": [(organization_event(blocked_user=person()), set(), ABOUT_MEMBER)],
    "org_block.unblocked": [(organization_event(blocked_user=None), set(), ABOUT_OWNER)],
    "installation.deleted": [
        (INSTALLED, {(OWNER_SCOPE, f"blind:{INSTALLATION}:deleted", True)}, ABOUT_OWNER),
        ({"installation": installation(id=None)}, {(OWNER_SCOPE, "blind", True)}, ABOUT_OWNER),
        (ENTERPRISE, set(), set()),
        (GHOST, set(), set()),
        (
            {"installation": installation(account=None, target_id=OWNER, target_type="User")},
            {(OWNER_SCOPE, f"blind:{INSTALLATION}:deleted", True)},
            ABOUT_OWNER,
        ),
    ],
    "installation.suspend": [
        (INSTALLED, {(OWNER_SCOPE, f"blind:{INSTALLATION}", True)}, ABOUT_OWNER),
        ({"installation": installation(id="x")}, {(OWNER_SCOPE, "blind", True)}, ABOUT_OWNER),
        (ENTERPRISE, set(), set()),
    ],
    "installation.created": [
        (INSTALLED, SEES_SOME | both(f"unreachable:{INSTALLATION}", False), ABOUT_OWNER),
        (NOTHING_INSTALLED, SEES_SOME, ABOUT_OWNER),
    ],
    "installation.unsuspend": [
        (INSTALLED, SEES_SOME | both(f"unreachable:{INSTALLATION}", False), ABOUT_OWNER),
        (NOTHING_INSTALLED, SEES_SOME, ABOUT_OWNER),
    ],
    "installation.new_permissions_accepted": [
        (INSTALLED, SEES_SOME | both(f"unreachable:{INSTALLATION}", False), ABOUT_OWNER),
        (NOTHING_INSTALLED, SEES_SOME, ABOUT_OWNER),
    ],
    "installation_repositories.removed": [
        (
            {"installation": installation(), "repositories_added": [], "repositories_removed": [LISTED]},
            both(f"unreachable:{INSTALLATION}", True) | SEES_SELECTED,
            ABOUT_REPOSITORY,
        ),
        ({"installation": installation(repository_selection="all")}, SEES_ALL, ABOUT_OWNER),
        (
            {
                "installation": installation(),
                "repositories_added": None,
                "repositories_removed": [{}, LISTED, {"id": 9}],
            },
            both(f"unreachable:{INSTALLATION}", True) | SEES_SELECTED,
            ABOUT_REPOSITORY,
        ),
        (
            {"installation": {"account": account()}, "repositories_removed": [LISTED]},
            both("unreachable", True),
            ABOUT_REPOSITORY,
        ),
        (ENTERPRISE, set(), set()),
    ],
    "installation_repositories.added": [
        (
            {"installation": installation(), "repositories_added": [LISTED], "repositories_removed": []},
            both(f"unreachable:{INSTALLATION}", False) | SEES_SELECTED,
            ABOUT_REPOSITORY,
        ),
        ({"installation": installation(), "repository_selection": "all"}, SEES_ALL, ABOUT_OWNER),
    ],
    "workflow_run.completed": [(event(workflow_run={"id": 1, "conclusion": "success"}, workflow=None), set(), set())],
    "push": [
        (pushed(commit(added=["README.md", "src/.github/workflows/x.yml"])), set(), set()),
        (pushed(), set(), set()),
        ({**pushed(), "commits": None}, set(), set()),
        (pushed({"id": "c", "added": None, "modified": None, "removed": None}), set(), set()),
        (pushed(commit(removed=[".github/workflows/release.yml"]), ref="refs/heads/topic"), set(), set()),
        (pushed(commit(removed=[".github/workflows/release.yml"]), ref="refs/tags/main"), set(), set()),
        (
            pushed(commit(removed=[".github/workflows/release.yml"])),
            workflow(missing=True),
            ABOUT_REPOSITORY,
        ),
        (
            pushed(
                commit(removed=[".github/workflows/release.yml"]),
                commit(added=[".github/workflows/release.yml"], modified=[".github/workflows/test.yml"]),
            ),
            workflow(missing=False) | workflow(missing=False, file="test.yml"),
            ABOUT_REPOSITORY,
        ),
        (
            pushed(
                commit(added=[".github/workflows/release.yml"]),
                commit(removed=[".github/workflows/release.yml"]),
            ),
            workflow(missing=True),
            ABOUT_REPOSITORY,
        ),
        (
            {**pushed(), "forced": True, "head_commit": commit(removed=[".github/workflows/release.yml"])},
            workflow(missing=True),
            ABOUT_REPOSITORY,
        ),
        ({**pushed(), "repository": repository(archived=False)}, both("archived", False), set()),
        ({"ref": "refs/heads/main", "repository": repository(owner={"name": "octo", "email": None})}, set(), set()),
    ],
    "github_app_authorization.revoked": [({"sender": person()}, set(), set())],
    "meta.deleted": [
        ({"hook_id": 5, "hook": {"type": "App", "id": 5}}, set(), set()),
        (
            organization_event(hook_id=5, hook={"type": "Organization"}),
            {(OWNER_SCOPE, "blind:hook-5:deleted", True)},
            set(),
        ),
        (event(hook_id=5, hook={"type": "Repository"}), set(), set()),
    ],
    "ping": [
        ({"zen": "Quiet is a feature.", "hook_id": 5, "hook": {}}, set(), set()),
        (organization_event(hook_id=6, hook={"type": "Organization"}), {(OWNER_SCOPE, "blind:hook-6", False)}, set()),
    ],
}
"""What the event is called → its body, what is learnt, who is checked."""

CASES = [pytest.param(name, *case, id=f"{name}-{i}") for name, cases in HEARD.items() for i, case in enumerate(cases)]


def learnt(handled: Handled) -> Learnt:
    return {(o.scope, o.aspect, o.value) for o in handled.observations}


@pytest.mark.parametrize(("name", "body", "expected", "checks"), CASES)
def test_a_webhook_is_translated(name: str, body: dict[str, JSON], expected: Learnt, checks: set[str]) -> None:
    action = name.partition(".")[2]
    said = incoming(name, {**body, "action": action} if action else body)
    handled = handle(said)
    assert learnt(handled) == expected
    assert set(handled.checks) == checks
    assert len(handled.observations) == len(expected)
    for observation in handled.observations:
        assert (observation.at, observation.basis, observation.source) == (said.at, Basis.HINT, said.source)
    # Telling it twice tells the same.
    assert handle(said) == handled


RENAMED = {"organization.renamed", "installation_target.renamed"}


def test_every_entry_of_the_table_has_its_case() -> None:
    heard = {webhook_handler(name) for name in {*HEARD, *RENAMED}}
    assert {name for name, handler in WEBHOOKS.items() if handler not in heard} == set()


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("organization.renamed", organization_event(organization=account(OWNER, "octo-labs"), changes={"login": {"from": "octo"}})),
        ("organization.renamed", organization_event(organization=account(OWNER, "octo-labs"))),
        ("installation_target.renamed", {"account": account(OWNER, "octo-labs"), "changes": {"login": {"from": "octo"}}}),
        ("installation_target.renamed", {"account": person(OWNER, "octo-labs"), "target_type": "User", "changes": None}),
    ],
)  # fmt: skip
def test_an_owner_renamed_is_told_with_the_new_login(name: str, body: dict[str, JSON]) -> None:
    handled = handle(incoming(name, body))
    address = [(scopes.called_owner("octo"), f"{OWNER}:octo-labs")] if body.get("changes") else []
    assert [(o.scope, o.value) for o in handled.observations] == [(OWNER_SCOPE, "octo-labs"), *address]
    assert handled.checks == (OWNER_SCOPE,)


def test_an_event_without_organization_asks_about_what_it_names() -> None:
    assert handle(incoming("team_add", {"repository": repository()})).checks == (HERE, BY_NAME)
    assert handle(incoming("membership.added", {"installation": installation()})).checks == (OWNER_SCOPE,)
    assert handle(incoming("membership.added", {"organization": None})).checks == ()


@pytest.mark.parametrize("name", ["team.created", "membership.removed", "org_block.blocked", "team_add"])
def test_an_apps_webhooks_carry_its_installation_in_short(name: str) -> None:
    body: JSON = {"organization": account(), "installation": {"id": 900, "node_id": "x"}}
    assert handle(incoming(name, body)).checks == (OWNER_SCOPE,)


# Names


@pytest.mark.parametrize(
    ("event_name", "action", "expected"),
    [
        ("repository", "archived", "repository.archived"),
        ("push", None, "push"),
        ("push", "", "push"),
        ("push", 5, "push"),
        ("push", ["x"], "push"),
    ],
)
def test_an_event_is_called_by_its_action_where_it_has_one(event_name: str, action: JSON, expected: str) -> None:
    assert webhook_name(event_name, action) == expected


@pytest.mark.parametrize(
    "name",
    ["team.any_future_action", "membership.added", "org_block.blocked", "membership", "public.now", "push.x", "ping.x"],
)
def test_a_whole_family_is_heard(name: str) -> None:
    assert webhook_handler(name) is not None


@pytest.mark.parametrize(
    "name",
    ["repository.edited", "repository", "star.created", "workflow_run.requested", "teams.created", "", "*", ".*"],
)
def test_what_is_not_in_the_table_is_not_heard(name: str) -> None:
    assert webhook_handler(name) is None
    with pytest.raises(UnusableEventError, match="nothing listens"):
        handle(incoming(name, {}))


# Tolerance


@pytest.mark.parametrize("written", [MAX_ID, str(MAX_ID)])
def test_ids_keep_every_digit_whether_numbers_or_text(written: JSON) -> None:
    body = event(repository=repository(written, owner=account(written)))
    first = handle(incoming("repository.archived", body)).observations[0]
    assert first.scope == f"repository:{MAX_ID}:{MAX_ID}"
    handled = handle(incoming("organization.member_removed", membership(person(written))))
    assert [o.scope for o in handled.observations] == [f"member:{OWNER}:{MAX_ID}"]


def test_unknown_fields_and_nulls_are_normal() -> None:
    bare = {"repository": {"id": REPOSITORY, "name": NAME, "owner": {"id": OWNER, "login": "octo"}}}
    clothed = event(
        repository=repository(custom_properties={"a": [1, None]}, topics=[], visibility=None, default_branch=None),
        organization=None,
        installation=None,
        enterprise={"id": 1},
        changes=None,
        something_new={"deep": [[{}]]},
        sender=None,
    )
    for name in ("repository.archived", "repository.deleted", "repository.created", "repository.publicized", "public"):
        assert learnt(handle(incoming(name, clothed))) == learnt(handle(incoming(name, bare)))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("repository.archived", {}),
        ("repository.unarchived", {}),
        ("repository.created", {}),
        ("repository.renamed", {"repository": {"name": {"from": "gizmos"}}}),
        ("repository.transferred", {"owner": {"from": {"user": {"id": 40}}}}),
        ("repository.privatized", {}),
        ("public", {}),
    ],
)
def test_every_event_about_a_repository_tells_whether_github_has_disabled_it(name: str, changes: JSON) -> None:
    """Given GitHub disabled a repository, when any event about it comes, then it is heard, and so is the end of it, except
    from events that would have to say so each time.
    """
    for value in (True, False):
        learnt = handle(incoming(name, event(repository=repository(disabled=value), changes=changes))).observations
        said = {(o.scope, o.aspect, o.value) for o in learnt if o.aspect == "disabled"}
        silent = not value and name in ("repository.archived", "repository.unarchived")
        assert said == (set() if silent else both("disabled", value))


@pytest.mark.parametrize(
    "changes",
    [None, {}, {"repository": None}, {"repository": {"name": None}}, {"repository": {"name": {"from": None}}}],
)
def test_a_rename_without_the_former_name_is_still_a_rename(changes: JSON) -> None:
    handled = handle(incoming("repository.renamed", event(changes=changes)))
    assert learnt(handled) == {(HERE, "name", NAME), (HELD_NAME, HOLDER, True)}


@pytest.mark.parametrize("changes", [None, {}, {"owner": None}, {"owner": {"from": None}}, {"owner": {"from": 7}}])
def test_a_transfer_that_does_not_say_from_whom_is_kept_for_an_operator(changes: JSON) -> None:
    with pytest.raises(UnusableEventError, match=r"changes\.owner\.from"):
        handle(incoming("repository.transferred", event(changes=changes)))


def test_the_sender_s_date_orders_and_is_never_later_than_the_receipt() -> None:
    second = 1_000_000
    for told, dated in (("1970-01-01T00:00:05Z", 5 * second), (5, 5 * second), ("2999-01-01T00:00:00Z", 9 * second)):
        body = event(repository=repository(updated_at=told))
        (here, _) = handle(incoming("repository.archived", body, at=9 * second)).observations
        assert (here.at, here.dated) == (9 * second, dated)


@pytest.mark.parametrize("told", [None, "", "yesterday", "2026-01-01T00:00:00", True, 1e300, -5, 10**30, {}, []])
def test_a_date_that_cannot_be_read_is_none(told: JSON) -> None:
    (here, _) = handle(incoming("repository.archived", event(repository=repository(updated_at=told)))).observations
    assert here.dated is None


def test_a_suspended_installation_sees_nothing_whatever_the_event_is_called() -> None:
    body: JSON = {"installation": installation(suspended_at="2026-01-01T00:00:00Z"), "repositories": []}
    handled = handle(incoming("installation.new_permissions_accepted", body))
    assert (OWNER_SCOPE, f"blind:{INSTALLATION}", True) in learnt(handled)


@pytest.mark.parametrize(
    "body",
    [
        {"account": {"id": OWNER, "slug": "octo", "name": "Octo Corp"}, "target_type": "Enterprise"},
        {"account": {"id": OWNER, "slug": "octo", "name": "Octo Corp"}},
        {"account": {"id": OWNER, "login": "octo", "type": "Enterprise"}},
        {"account": account(), "target_type": "Enterprise"},
    ],
)
def test_an_enterprise_that_is_renamed_renames_no_owner(body: JSON) -> None:
    assert handle(incoming("installation_target.renamed", body)) == Handled()


def test_names_are_kept_apart_whatever_they_hold() -> None:
    odd = "a b:c/ä%20"
    handled = handle(incoming("repository.archived", event(repository=repository(name=odd))))
    assert handled.observations[1].scope == scopes.unbound(OWNER, odd)
    assert " " not in handled.observations[1].scope
