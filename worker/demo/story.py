"""The story: chapters, what is sent in each, and what must come of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from worker.demo.client import Sender
from worker.demo.payloads import (
    Org,
    Repo,
    User,
    about_member,
    about_repository,
    login,
    registration,
    renamed_from,
    transferred_from,
)

ADA = User(900_000_000_000_000_001, "ada")
BOB = User(42_002, "bob")
ENGINES = Org(600_613, "engines")
STRANGERS = Org(770_001, "strangers")
ENGINE = Repo(9_007_199_254_740_993, "difference-engine", ENGINES)
"""An id that a float cannot hold: it must come back with every digit."""
LOOM = Repo(5_002, "loom", ENGINES)
CARDS = Repo(5_003, "cards", ENGINES)
MILL = Repo(5_004, "mill", ENGINES)
STORE = Repo(5_005, "store", ENGINES)


class Expected(NamedTuple):
    """A change that must be published."""

    policy_id: str
    type: str
    state: str
    reasons: tuple[str, ...] = ()
    repository: str | None = None


class Step(NamedTuple):
    """One thing that happens. `sends` returns the HTTP status, which must be `status`."""

    says: str
    sends: Callable[[Sender], int]
    expect: tuple[Expected, ...] = ()
    status: int = 202


class Chapter(NamedTuple):
    title: str
    steps: tuple[Step, ...]


def _hook(event: str, payload: dict[str, object]) -> Callable[[Sender], int]:
    return lambda sender: sender.webhook(event, payload)


def _event(kind: str, data: dict[str, object]) -> Callable[[Sender], int]:
    return lambda sender: sender.event(kind, data)


def _registered(policy_id: str, repo: Repo, creator: User = ADA) -> Step:
    return Step(
        f"{creator.login} registers {policy_id} for the private repository {repo.owner.login}/{repo.name}",
        _event("policy.registered", registration(policy_id, repo, creator)),
        (Expected(policy_id, "policy.provisioned", "provisional"),),
    )


def _first_login(policy_id: str, repo: Repo, run: int, becomes: Expected | None = None) -> Step:
    return Step(
        f"the workflow of {repo.name} publishes for the first time",
        _event("login.succeeded", login(policy_id, repo, run)),
        (becomes or Expected(policy_id, "policy.activated", "active"),),
    )


def _member(action: str, member: User, *expect: Expected) -> Step:
    verb = "removed from" if action == "member_removed" else "added to"
    hook = _hook("organization", about_member(action, ENGINES, member, ADA))
    return Step(f"{member.login} is {verb} the organisation {ENGINES.login}", hook, expect)


def _repository(
    says: str, action: str, repo: Repo, *expect: Expected, changes: dict[str, object] | None = None
) -> Step:
    return Step(says, _hook("repository", about_repository(action, repo, ADA, changes)), expect)


LEFT = "creator_left_organization"
ARCHIVED = "repository_archived"


def _same_delivery(sender: Sender) -> int:
    return sender.webhook("repository", about_repository("archived", LOOM, ADA), delivery="demo-again")


def _forged(sender: Sender) -> int:
    return sender.webhook("repository", about_repository("deleted", ENGINE, BOB), secret=b"not the secret")


STORY = (
    Chapter("A private repository proves itself", (
        _registered("engine", ENGINE),
        _first_login("engine", ENGINE, 1),
    )),
    Chapter("Whoever leaves loses access, whoever returns has it back", (
        _member("member_removed", ADA, Expected("engine", "policy.disabled", "disabled", (LEFT,))),
        _member("member_added", ADA, Expected("engine", "policy.reenabled", "active")),
    )),
    Chapter("Two reasons: clearing one is not enough", (
        _registered("loom", LOOM, BOB),
        _first_login("loom", LOOM, 2),
        Step(
            "the repository loom is archived", _same_delivery,
            (Expected("loom", "policy.disabled", "disabled", (ARCHIVED,)),),
        ),
        _member("member_removed", BOB, Expected("loom", "policy.refreshed", "disabled", (ARCHIVED, LEFT))),
        _repository(
            "loom is unarchived, but bob is still gone", "unarchived", LOOM,
            Expected("loom", "policy.refreshed", "disabled", (LEFT,)),
        ),
        _member("member_added", BOB, Expected("loom", "policy.reenabled", "active")),
        Step("GitHub delivers the archiving a second time", _same_delivery, (), status=200),
        Step("somebody without the secret sends a webhook", _forged, (), status=401),
    )),
    Chapter("A rename is followed", (
        _repository(
            "difference-engine is renamed analytical-engine", "renamed", ENGINE._replace(name="analytical-engine"),
            Expected("engine", "policy.updated", "active", (), "analytical-engine"),
            changes=renamed_from("difference-engine"),
        ),
    )),
    Chapter("A repository that goes to somebody else", (
        _registered("cards", CARDS),
        _first_login("cards", CARDS, 3),
        _repository(
            "cards is transferred to strangers, and GitHub tells only them", "transferred",
            CARDS._replace(owner=STRANGERS),
            Expected("cards", "policy.disabled", "disabled", ("repository_transferred",)),
            changes=transferred_from(ENGINES),
        ),
    )),
    Chapter("The same name, another repository", (
        _registered("mill", MILL),
        _first_login("mill", MILL, 4),
        _repository(
            "a new repository named mill appears, with another id", "created", MILL._replace(id=6_004),
            Expected("mill", "policy.disabled", "disabled", ("repository_replaced",)),
        ),
    )),
    Chapter("A window closes", (
        _registered("store", STORE),
        Step("nobody publishes, and the clock goes on", lambda _: 202, (
            Expected("store", "policy.expiring", "provisional"),
            Expected("store", "policy.expired", "expired"),
        )),
        Step(
            "ada renews the policy", _event("policy.renewed", {"policy_id": "store"}),
            (Expected("store", "policy.renewed", "provisional"),),
        ),
        _first_login("store", STORE, 5),
    )),
    Chapter("The end of a policy", (
        Step(
            "ada removes loom", _event("policy.removed", {"policy_id": "loom", "reason": "retired"}),
            (Expected("loom", "policy.removed", "removed"),),
        ),
    )),
)  # fmt: skip

VIEWS = (
    (Expected("engine", "", "active", (), "analytical-engine"), ENGINE),
    (Expected("cards", "", "disabled", ("repository_transferred",)), CARDS),
    (Expected("mill", "", "disabled", ("repository_replaced",)), MILL),
    (Expected("store", "", "active"), STORE),
    (Expected("loom", "", "removed"), LOOM),
)
"""What a plain Redis client must find in the end; a removed policy is nowhere."""
