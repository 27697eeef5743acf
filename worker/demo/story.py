"""The story: chapters, what is done in each, and what must come of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from worker.demo.client import Sender
from worker.demo.fakegithub.records import AccountRecord
from worker.demo.github import GitHubActor
from worker.demo.payloads import Repo, about_member, about_repository, login, organization, person, registration

ADA = person(900_000_000_000_000_001, "ada")
BOB = person(42_002, "bob")
ENGINES = organization(600_613, "engines")
STRANGERS = organization(770_001, "strangers")
ENGINE = Repo(9_007_199_254_740_993, "difference-engine", ENGINES)
"""An id that a float cannot hold: it must come back with every digit."""
LOOM = Repo(5_002, "loom", ENGINES)
CARDS = Repo(5_003, "cards", ENGINES)
MILL = Repo(5_004, "mill", ENGINES)
STORE = Repo(5_005, "store", ENGINES)


class StoryContext(NamedTuple):
    """What a step acts with."""

    sender: Sender
    github: GitHubActor


class Expected(NamedTuple):
    """A change that must be published."""

    policy_id: str
    type: str
    state: str
    reasons: tuple[str, ...] = ()
    repository: str | None = None


class StoryStep(NamedTuple):
    """One thing that happens. `does` returns the HTTP status, which must be `status`."""

    says: str
    does: Callable[[StoryContext], int]
    expect: tuple[Expected, ...] = ()
    status: int = 202


class Chapter(NamedTuple):
    title: str
    steps: tuple[StoryStep, ...]


def build(github: GitHubActor, webhooks: str, secret: str) -> None:
    """The world as it is when the story begins."""
    for org in (ENGINES, STRANGERS):
        github.do("add_org", login=org.login, account_id=org.id)
        github.do("install", account_id=org.id)
    for user in (ADA, BOB):
        github.do("add_user", login=user.login, account_id=user.id)
        github.do("add_member", org_id=ENGINES.id, user_id=user.id)
    for repo in (ENGINE, LOOM, CARDS, MILL, STORE):
        github.do("add_repository", owner_id=repo.owner.id, name=repo.name, repository_id=repo.id)
    github.do("webhook_target", url=webhooks, secret=secret)


def _at_github(verb: str, *, tell: bool = True, **arguments: object) -> Callable[[StoryContext], int]:
    """Somebody does something at GitHub, and GitHub tells of it."""

    def does(stage: StoryContext) -> int:
        stage.github.do(verb, tell=tell, **arguments)
        return 202

    return does


def _event(kind: str, data: dict[str, object]) -> Callable[[StoryContext], int]:
    return lambda stage: stage.sender.event(kind, data)


def _registered(policy_id: str, repo: Repo, creator: AccountRecord = ADA) -> StoryStep:
    return StoryStep(
        f"{creator.login} registers {policy_id} for the private repository {repo.owner.login}/{repo.name}",
        _event("policy.registered", registration(policy_id, repo, creator)),
        (Expected(policy_id, "policy.provisioned", "provisional"),),
    )


def _first_login(policy_id: str, repo: Repo, run: int) -> StoryStep:
    return StoryStep(
        f"the workflow of {repo.name} publishes for the first time",
        _event("login.succeeded", login(policy_id, repo, run)),
        (Expected(policy_id, "policy.activated", "active"),),
    )


def _member(verb: str, member: AccountRecord, *expect: Expected) -> StoryStep:
    says = "removed from" if verb == "remove_member" else "added to"
    does = _at_github(verb, org_id=ENGINES.id, user_id=member.id)
    return StoryStep(f"{member.login} is {says} the organisation {ENGINES.login}", does, expect)


LEFT = "creator_left_organization"
ARCHIVED = "repository_archived"
AGAIN = "demo-again"


def _old_webhook(stage: StoryContext) -> int:
    return stage.sender.webhook("organization", about_member("member_added", ENGINES, ADA, ADA), delivery=AGAIN)


def _forged(stage: StoryContext) -> int:
    return stage.sender.webhook("repository", about_repository("deleted", ENGINE, BOB), secret=b"not the secret")


def _outage(stage: StoryContext) -> int:
    stage.github.breaks(kind="status", status=503)
    return 202


def _recovery(stage: StoryContext) -> int:
    stage.github.heals()
    return 202


STORY = (
    Chapter("A private repository proves itself", (
        _registered("engine", ENGINE),
        _first_login("engine", ENGINE, 1),
    )),
    Chapter("Who leaves loses access at once; who returns has it back when GitHub's API agrees", (
        _member("remove_member", ADA, Expected("engine", "policy.disabled", "disabled", (LEFT,))),
        StoryStep("a signed webhook says that ada is back, but GitHub does not", _old_webhook),
        StoryStep("GitHub's API goes down", _outage),
        _member("add_member", ADA),
        StoryStep(
            "GitHub's API is up again", _recovery, (Expected("engine", "policy.reenabled", "active"),),
        ),
        StoryStep("the delivery from before comes a second time", _old_webhook, status=200),
    )),
    Chapter("Two reasons: clearing one is not enough", (
        _registered("loom", LOOM, BOB),
        _first_login("loom", LOOM, 2),
        StoryStep(
            "the repository loom is archived", _at_github("archive", repository_id=LOOM.id),
            (Expected("loom", "policy.disabled", "disabled", (ARCHIVED,)),),
        ),
        _member("remove_member", BOB, Expected("loom", "policy.refreshed", "disabled", (ARCHIVED, LEFT))),
        StoryStep(
            "loom is unarchived, but bob is still gone", _at_github("archive", repository_id=LOOM.id, archived=False),
            (Expected("loom", "policy.refreshed", "disabled", (LEFT,)),),
        ),
        _member("add_member", BOB, Expected("loom", "policy.reenabled", "active")),
        StoryStep("somebody without the secret sends a webhook", _forged, (), status=401),
    )),
    Chapter("A rename is followed", (
        StoryStep(
            "difference-engine is renamed analytical-engine",
            _at_github("rename_repository", repository_id=ENGINE.id, name="analytical-engine"),
            (Expected("engine", "policy.updated", "active", (), "analytical-engine"),),
        ),
    )),
    Chapter("A repository that goes to somebody else", (
        _registered("cards", CARDS),
        _first_login("cards", CARDS, 3),
        StoryStep(
            "cards is transferred to strangers, and GitHub tells only them",
            _at_github("transfer", repository_id=CARDS.id, owner_id=STRANGERS.id),
            (Expected("cards", "policy.disabled", "disabled", ("repository_transferred",)),),
        ),
    )),
    Chapter("The same name, another repository", (
        _registered("mill", MILL),
        _first_login("mill", MILL, 4),
        StoryStep(
            "mill is deleted and made anew, with another id",
            _at_github("recreate", repository_id=MILL.id, new_id=6_004),
            (Expected("mill", "policy.disabled", "disabled", ("repository_deleted",)),
             Expected("mill", "policy.refreshed", "disabled", ("repository_deleted", "repository_replaced"))),
        ),
    )),
    Chapter("A webhook that never comes", (
        StoryStep(
            "loom is archived, and nobody hears of it: the sweep finds out",
            _at_github("archive", tell=False, repository_id=LOOM.id),
            (Expected("loom", "policy.disabled", "disabled", (ARCHIVED,)),),
        ),
    )),
    Chapter("A window closes", (
        _registered("store", STORE),
        StoryStep("nobody publishes, and the clock goes on", lambda _: 202, (
            Expected("store", "policy.expiring", "provisional"),
            Expected("store", "policy.expired", "expired"),
        )),
        StoryStep(
            "ada renews the policy", _event("policy.renewed", {"policy_id": "store"}),
            (Expected("store", "policy.renewed", "provisional"),),
        ),
        _first_login("store", STORE, 5),
    )),
    Chapter("The end of a policy", (
        StoryStep(
            "ada removes loom", _event("policy.removed", {"policy_id": "loom", "reason": "retired"}),
            (Expected("loom", "policy.removed", "removed", (ARCHIVED,)),),
        ),
    )),
)  # fmt: skip

VIEWS = (
    (Expected("engine", "", "active", (), "analytical-engine"), ENGINE),
    (Expected("cards", "", "disabled", ("repository_transferred",)), CARDS),
    (Expected("mill", "", "disabled", ("repository_deleted", "repository_replaced")), MILL),
    (Expected("store", "", "active"), STORE),
    (Expected("loom", "", "removed"), LOOM),
)
"""What a plain Redis client must find in the end; a removed policy is nowhere."""
