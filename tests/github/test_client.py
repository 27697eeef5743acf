"""What GitHub answers, and what that means for a policy: every question, in every state of the world."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from tests.docs.markdown import table, text, ticked
from tests.github.clients import QUICK, Calls, Clock, asking
from worker.demo.fakegithub import FakeGitHub, Fault
from worker.github.answers import (
    BlockedError,
    CredentialsError,
    EnvironmentAnswer,
    File,
    GitHubError,
    GoneError,
    InstallationAnswer,
    LaterError,
    LimitedError,
    MovedError,
    NotOursError,
    RepositoryAnswer,
    RulesetAnswer,
    SuspendedError,
    UninstalledError,
    UserAnswer,
)
from worker.github.client import GitHub
from worker.github.models import RegistrationModel
from worker.github.wire import Timeouts
from worker.github.workflow import LONGEST
from worker.lifecycle.facts import SECOND

OCTO, MARIA, PAUL = 41, 5, 6
WIDGETS, PUBLIC = 2**63 - 9, 8
HERE = 900
ORG, MARIA_NOW, PAUL_NOW = UserAnswer(OCTO, "octo"), UserAnswer(MARIA, "maria"), UserAnswer(PAUL, "paul")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def base_path() -> str:
    return ""


@pytest.fixture
def fake(base_path: str, clock: Clock) -> Iterator[FakeGitHub]:
    """An organisation with a member, a private repository with a collaborator, and the App."""
    with FakeGitHub(base_path=base_path, clock=clock) as github:
        world = github.world
        world.add_org("octo", account_id=OCTO)
        world.add_user("maria", account_id=MARIA)
        world.add_user("paul", account_id=PAUL)
        world.add_member(OCTO, MARIA)
        world.add_repository(OCTO, "widgets", repository_id=WIDGETS)
        world.add_collaborator(WIDGETS, PAUL)
        world.install(OCTO, installation_id=HERE)
        for permission in ("contents", "actions"):
            world.permit(HERE, permission)
        world.put_environment(WIDGETS, "release", admits=["v*"])
        world.put_workflow(WIDGETS, "release.yml", "on: push")
        world.put_branch(WIDGETS, "release/1", protected=True)
        world.put_ruleset(WIDGETS, "tag", include=["refs/tags/v*"], exclude=["refs/tags/v0"])
        world.put_ruleset(WIDGETS, "push", include=["~ALL"])
        yield github


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def timeouts() -> Timeouts:
    """Long ones, since what is answered here is answered by a thread of this process, however busy that is."""
    return Timeouts()


@pytest.fixture
def github(fake: FakeGitHub, clock: Clock, calls: Calls, timeouts: Timeouts) -> Iterator[GitHub]:
    with asking(
        fake.url + "/",
        clock=clock,
        calls=calls,
        app_id=str(fake.app_id),
        pem=fake.private_key_pem,
        timeouts=timeouts,
        max_delivery_pages=9,
    ) as client:
        yield client


def repository(name: str = "widgets", *, archived: bool = False) -> RepositoryAnswer:
    return RepositoryAnswer(
        WIDGETS, name, OCTO, "octo", "Organization", {"archived": archived, "disabled": False}, "private"
    )


# As the App


def test_installations_are_listed_to_the_last(fake: FakeGitHub, github: GitHub) -> None:
    made = {HERE}
    for number in range(150):
        user = fake.world.add_user(f"user-{number}")
        made.add(fake.world.install(user.id).id)
    fake.world.suspend(HERE)
    found = github.installations()
    assert {each.id for each in found} == made
    assert len(found) == 151
    assert found[0] == InstallationAnswer(HERE, OCTO, "octo", "Organization", suspended=True)
    assert fake.calls["GET /app/installations"] == 2


def test_failed_deliveries_are_found_and_delivered_again(fake: FakeGitHub, github: GitHub, clock: Clock) -> None:
    clock.now -= 3600
    fake.world.record_delivery("push", 500)
    clock.now += 3600
    since = int(clock.now) * SECOND
    for _ in range(230):
        fake.world.record_delivery("repository", 502, action="renamed", guid="g-1", installation_id=HERE)
    fake.world.record_delivery("repository", 202, action="renamed", guid="g-1", installation_id=HERE)

    failed = list(github.deliveries(status="failure", since=since))
    assert len({each.id for each in failed}) == len(failed) == 230
    newest = failed[0]
    assert newest[1:] == ("g-1", since, False, HERE, None, "repository", "renamed")
    assert [each.succeeded for each in github.deliveries(status="success", since=since)] == [True]
    assert fake.calls["GET /app/hook/deliveries"] == 4

    again: list[int] = []

    def accepted(delivery: object) -> int:
        again.append(getattr(delivery, "id", 0))
        return 202

    fake.on_redelivery(accepted)
    github.redeliver(newest.id)
    assert again == [newest.id]


def test_what_github_does_not_keep_cannot_be_delivered_again(fake: FakeGitHub, github: GitHub, clock: Clock) -> None:
    old = fake.world.record_delivery("push", 500)
    clock.now += 4 * 86_400
    for delivery_id in (old.id, 12):
        with pytest.raises(GoneError):
            github.redeliver(delivery_id)


# Repositories


def test_a_repository_is_found_by_id_and_by_name(github: GitHub) -> None:
    assert github.repository(HERE, WIDGETS, urgent=False) == repository()
    assert github.repository_named(HERE, UserAnswer(OCTO, "OCTO"), "Widgets", urgent=False) == repository()


def test_what_became_of_a_repository_is_seen(fake: FakeGitHub, github: GitHub) -> None:
    fake.world.rename_repository(WIDGETS, "gadgets")
    fake.world.archive(WIDGETS)
    assert github.repository(HERE, WIDGETS, urgent=False) == repository("gadgets", archived=True)
    # Under its former name, it is found by the id that the redirect names.
    assert github.repository_named(HERE, ORG, "widgets", urgent=False) == repository("gadgets", archived=True)

    # When it is given to somebody who shows it to all, then the owner's id tells.
    fake.world.set_visibility(WIDGETS, "public")
    fake.world.transfer(WIDGETS, PAUL)
    moved = github.repository_named(HERE, ORG, "widgets", urgent=False)
    assert (moved.owner_id, moved.owner_login, moved.owner_kind, moved.visibility) == (PAUL, "paul", "User", "public")


def test_a_repository_that_is_gone_or_hidden_or_blocked(fake: FakeGitHub, github: GitHub) -> None:
    fake.world.take_repository_away(HERE, WIDGETS)
    with pytest.raises(GoneError):
        github.repository(HERE, WIDGETS, urgent=False)
    fake.world.give_repository(HERE, WIDGETS)
    fake.world.block(WIDGETS)
    with pytest.raises(BlockedError):
        github.repository(HERE, WIDGETS, urgent=False)
    fake.world.delete_repository(WIDGETS)
    with pytest.raises(GoneError):
        github.repository_named(HERE, ORG, "widgets", urgent=False)


def test_what_an_installation_sees_is_listed_a_hundred_at_a_time(fake: FakeGitHub, github: GitHub) -> None:
    for number in range(249):
        fake.world.add_repository(OCTO, f"part-{number}")
    pages = list(github.repositories(HERE, urgent=False))
    assert [(len(page.items), page.total, page.more) for page in pages] == [
        (100, 250, True),
        (100, 250, True),
        (50, 250, False),
    ]
    assert len({each.id for page in pages for each in page.items}) == 250
    assert fake.calls["GET /installation/repositories"] == 3


def test_an_installation_that_sees_nothing_has_one_empty_page(fake: FakeGitHub, github: GitHub) -> None:
    fake.world.take_repository_away(HERE, WIDGETS)
    assert [page.items for page in github.repositories(HERE, urgent=False)] == [()]


# People


def test_members_are_listed_to_the_last(fake: FakeGitHub, github: GitHub) -> None:
    for number in range(199):
        fake.world.add_member(OCTO, fake.world.add_user(f"user-{number}").id)
    fake.world.add_member(OCTO, PAUL, state="pending")
    pages = list(github.members(HERE, OCTO, urgent=False))
    found = [user for page in pages for user in page.items]
    assert len(set(found)) == len(found) == 200
    assert UserAnswer(MARIA, "maria") in found
    assert UserAnswer(PAUL, "paul") not in found


def test_who_is_a_member(fake: FakeGitHub, github: GitHub) -> None:
    assert github.membership(HERE, ORG, MARIA_NOW, urgent=False) is True
    with pytest.raises(GoneError):
        github.membership(HERE, ORG, PAUL_NOW, urgent=False)
    fake.world.add_member(OCTO, PAUL, state="pending")
    assert github.membership(HERE, ORG, PAUL_NOW, urgent=False) is False


def test_members_may_be_kept_from_us(fake: FakeGitHub, github: GitHub) -> None:
    fake.world.permit_members(HERE, permitted=False)
    with pytest.raises(NotOursError, match=r"GET /orgs/octo/memberships/maria \(installation 900\).*grant"):
        github.membership(HERE, ORG, MARIA_NOW, urgent=False)
    with pytest.raises(NotOursError):
        list(github.members(HERE, OCTO, urgent=False))
    fake.faults.add(Fault(kind="status", status=302, path=f"/organizations/{OCTO}/members"))
    with pytest.raises(NotOursError):
        list(github.members(HERE, OCTO, urgent=False))


@pytest.mark.parametrize(
    ("role_name", "permission", "writes"),
    [
        ("admin", "admin", True),
        ("maintain", "write", True),
        ("write", "write", True),
        ("triage", "read", False),
        ("read", "read", False),
        ("maintain", "read", True),  # The finer word counts.
        ("triage", "write", False),
        ("release-manager", "write", True),
        ("auditor", "read", False),
    ],
)
def test_who_may_write(fake: FakeGitHub, github: GitHub, role_name: str, permission: str, writes: bool) -> None:
    fake.world.add_collaborator(WIDGETS, PAUL, role_name, permission=permission)
    assert github.role(HERE, "octo", "widgets", PAUL_NOW, urgent=False) is writes


def test_somebody_without_a_role_may_not_write(fake: FakeGitHub, github: GitHub) -> None:
    fake.world.remove_collaborator(WIDGETS, PAUL)
    assert github.role(HERE, "octo", "widgets", PAUL_NOW, urgent=False) is False
    with pytest.raises(GoneError):
        github.role(HERE, "octo", "widgets", UserAnswer(1, "nobody"), urgent=False)
    fake.world.rename_repository(WIDGETS, "gadgets")
    with pytest.raises(MovedError):
        github.role(HERE, "octo", "widgets", PAUL_NOW, urgent=False)


def test_a_workflow_file_is_read_and_its_name_quoted(fake: FakeGitHub, github: GitHub) -> None:
    fake.world.put_workflow(WIDGETS, "früh & spät.yml", "on: release")
    assert github.workflow(HERE, WIDGETS, "früh & spät.yml", urgent=False) == File("on: release")
    assert github.workflows(HERE, WIDGETS, urgent=False) == ["früh & spät.yml", "release.yml"]
    for file in ("..", ".", "Release.yml", "../../README.md"):
        with pytest.raises(GoneError):
            github.workflow(HERE, WIDGETS, file, urgent=False)


@pytest.mark.parametrize("text", ["#" * (LONGEST + 1), "\udcff"], ids=["too large", "not UTF-8"])
def test_a_file_that_is_not_read_is_there(fake: FakeGitHub, github: GitHub, text: str) -> None:
    fake.world._workflows[WIDGETS]["release.yml"] = text.encode(errors="surrogateescape")
    assert github.workflow(HERE, WIDGETS, "release.yml", urgent=False) == File(None)


def test_what_an_environment_admits_and_who_guards_it(fake: FakeGitHub, github: GitHub) -> None:
    world = fake.world
    assert github.environment(HERE, WIDGETS, "Release", urgent=False) == EnvironmentAnswer(True, True, False)
    assert github.admitted(HERE, WIDGETS, "release", urgent=False) == ["v*"]
    world.put_environment(WIDGETS, "früh / spät", reviewers=[PAUL])
    assert github.environment(HERE, WIDGETS, "früh / spät", urgent=False) == EnvironmentAnswer(False, False, True)
    world.put_environment(WIDGETS, "protected", admits=[])
    assert github.environment(HERE, WIDGETS, "protected", urgent=False) == EnvironmentAnswer(True, False, False)
    assert github.environments(HERE, WIDGETS, urgent=False) == ["release", "früh / spät", "protected"]
    for name in ("nothing", "..", "release/.."):
        with pytest.raises(GoneError):
            github.environment(HERE, WIDGETS, name, urgent=False)


def test_what_an_installation_may_read_is_what_its_token_says(github: GitHub) -> None:
    assert github.may(HERE, "contents", urgent=False)
    assert not github.may(HERE, "administration", urgent=False)


def test_a_user_is_known_by_id_under_any_name(fake: FakeGitHub, github: GitHub) -> None:
    fake.world.rename_account(MARIA, "maria-r")
    assert github.user(HERE, MARIA, urgent=False) == UserAnswer(MARIA, "maria-r")
    fake.world.delete_account(MARIA)
    with pytest.raises(GoneError):
        github.user(HERE, MARIA, urgent=False)


def test_an_account_is_found_by_its_present_login_alone(fake: FakeGitHub, github: GitHub) -> None:
    """A former login leads nowhere, and whoever takes it is another account."""
    assert github.account(HERE, "OCTO", urgent=False) == UserAnswer(OCTO, "octo")
    fake.world.rename_account(OCTO, "octo-labs")
    for nobody in ("octo", "no body", "..", "ghost"):
        with pytest.raises(GoneError):
            github.account(HERE, nobody, urgent=False)
    stranger = fake.world.add_user("Octo")
    assert github.account(HERE, "octo", urgent=False) == UserAnswer(stranger.id, "Octo")


def test_branches_and_rulesets_say_what_is_protected(fake: FakeGitHub, github: GitHub) -> None:
    fake.world.put_branch(WIDGETS, "try")
    assert github.is_protected(HERE, WIDGETS, "release/1", urgent=False)
    assert not github.is_protected(HERE, WIDGETS, "try", urgent=False)
    assert github.branches(HERE, WIDGETS, protected=True, urgent=False) == ["release/1"]
    assert github.branches(HERE, WIDGETS, protected=False, urgent=False) == ["try"]
    assert github.rulesets(HERE, WIDGETS, urgent=False) == [1], "one for pushes is about no refs"
    told = RulesetAnswer("tag", ("refs/tags/v*",), ("refs/tags/v0",), protects=True)
    assert github.ruleset(HERE, WIDGETS, 1, urgent=False) == told
    with pytest.raises(GoneError):
        github.is_protected(HERE, WIDGETS, "none", urgent=False)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"id": 7, "login": "maria", "type": "Bot"}, GoneError),
        ({"id": 7, "login": "paul", "type": "User"}, LaterError),
        ({"id": "7", "login": "maria", "type": "User"}, LaterError),
        ({"id": 7, "login": "maria"}, LaterError),
    ],
)
def test_an_account_that_is_another_or_owns_nothing_is_no_answer(
    fake: FakeGitHub, github: GitHub, answer: object, error: type[GitHubError]
) -> None:
    fake.faults.add(Fault(kind="wrong_shape", route="GET /users/{login}", body=answer))
    with pytest.raises(error):
        github.account(HERE, "maria", urgent=False)


# Faults

QUESTIONS: dict[str, Callable[[GitHub], object]] = {
    "installations": lambda github: github.installations(),
    "repositories": lambda github: list(github.repositories(HERE, urgent=True)),
    "repository": lambda github: github.repository(HERE, WIDGETS, urgent=True),
    "repository_named": lambda github: github.repository_named(HERE, ORG, "widgets", urgent=True),
    "members": lambda github: list(github.members(HERE, OCTO, urgent=True)),
    "membership": lambda github: github.membership(HERE, ORG, MARIA_NOW, urgent=True),
    "role": lambda github: github.role(HERE, "octo", "widgets", PAUL_NOW, urgent=True),
    "user": lambda github: github.user(HERE, MARIA, urgent=True),
    "account": lambda github: github.account(HERE, "maria", urgent=True),
    "workflow": lambda github: github.workflow(HERE, WIDGETS, "release.yml", urgent=True),
    "workflows": lambda github: github.workflows(HERE, WIDGETS, urgent=True),
    "contents": lambda github: github.contents(HERE, WIDGETS, urgent=True),
    "environment": lambda github: github.environment(HERE, WIDGETS, "release", urgent=True),
    "environments": lambda github: github.environments(HERE, WIDGETS, urgent=True),
    "admitted": lambda github: github.admitted(HERE, WIDGETS, "release", urgent=True),
    "is_protected": lambda github: github.is_protected(HERE, WIDGETS, "release/1", urgent=True),
    "branches": lambda github: github.branches(HERE, WIDGETS, protected=False, urgent=True),
    "rulesets": lambda github: github.rulesets(HERE, WIDGETS, urgent=True),
    "ruleset": lambda github: github.ruleset(HERE, WIDGETS, 1, urgent=True),
    "deliveries": lambda github: list(github.deliveries(status="failure", since=0)),
}
OTHERS: dict[str, Callable[[GitHub], object]] = {
    "app": lambda github: github.app(),
    "hook": lambda github: github.hook(),
    "redeliver": lambda github: github.redeliver(1),
    "may": lambda github: github.may(HERE, "contents", urgent=True),
    "repository_at": lambda github: github.repository_at(HERE, "octo", "widgets", urgent=True),
}


def test_the_questions_are_those_of_the_documents(github: GitHub, calls: Calls) -> None:
    """By what is asked: each of the client's methods is called."""
    every = QUESTIONS | OTHERS
    assert set(every) == {name for name in vars(GitHub) if not name.startswith("_")} - {"close"}
    for ask in every.values():
        with contextlib.suppress(GitHubError):
            ask(github)
    told = {ticked(row[0])[0] for row in table(text("docs/github.md"), "questions")}
    assert {route for route, _ in calls} == {question.partition(" ")[2] for question in told}


FAULTS: dict[str, tuple[Fault, type[GitHubError]]] = {
    "400": (Fault(kind="status", status=400), LaterError),
    "401": (Fault(kind="status", status=401), CredentialsError),
    "404": (Fault(kind="status", status=404), GitHubError),
    "409": (Fault(kind="status", status=409), LaterError),
    "418": (Fault(kind="status", status=418), LaterError),
    "429": (Fault(kind="status", status=429), LimitedError),
    "451": (Fault(kind="status", status=451), BlockedError),
    "500": (Fault(kind="status", status=500), LaterError),
    "502": (Fault(kind="status", status=502), LaterError),
    "503": (Fault(kind="status", status=503), LaterError),
    "599": (Fault(kind="status", status=599), LaterError),
    "redirects for ever": (Fault(kind="redirect_loop"), MovedError),
    "primary limit": (Fault(kind="primary_limit"), LimitedError),
    "secondary limit": (Fault(kind="secondary_limit"), LimitedError),
    "truncated": (Fault(kind="truncated"), LaterError),
    "another form": (Fault(kind="wrong_shape"), LaterError),
    "another content type": (Fault(kind="wrong_type"), LaterError),
    "reset": (Fault(kind="reset"), LaterError),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_has_its_meaning_and_passes(
    fake: FakeGitHub, github: GitHub, clock: Clock, calls: Calls, fault: str
) -> None:
    for ask in QUESTIONS.values():
        fake.faults.add(FAULTS[fault][0])
        with pytest.raises(FAULTS[fault][1]) as caught:
            ask(github)
        assert calls[-1][1] == caught.value.outcome
        fake.faults.heal()
        clock.now += 61  # After any limit.
        ask(github)
        assert calls[-1][1] == "ok"


@pytest.mark.parametrize("base_path", ["/api/v3"])
def test_a_server_of_an_enterprise_is_asked_below_its_path(fake: FakeGitHub, github: GitHub) -> None:
    for ask in QUESTIONS.values():
        ask(github)
    fake.world.rename_repository(WIDGETS, "gadgets")
    assert github.repository_named(HERE, ORG, "widgets", urgent=False).name == "gadgets"
    assert "no such route" not in fake.calls


@pytest.mark.parametrize("timeouts", [QUICK], ids=["quick"])
@pytest.mark.parametrize("kind", ["slow", "stall"])
def test_time_is_short_and_nothing_is_learnt_when_it_is_over(fake: FakeGitHub, github: GitHub, kind: str) -> None:
    # No answer is wanted in this short time: the first request, for a token, gets none.
    fake.faults.add(Fault(kind=kind))  # type: ignore[arg-type]
    with pytest.raises(LaterError, match="ReadTimeout"):
        github.user(HERE, MARIA, urgent=True)


# Who asks


def test_tokens_that_github_forgot_are_fetched_anew(fake: FakeGitHub, github: GitHub) -> None:
    github.user(HERE, MARIA, urgent=True)
    fake.rotate_tokens()
    assert github.user(HERE, MARIA, urgent=True).login == "maria"
    assert fake.calls == {"POST /app/installations/{id}/access_tokens": 2, "GET /user/{id}": 3}


def test_an_installation_that_is_suspended_or_gone(fake: FakeGitHub, github: GitHub) -> None:
    # Given a token from before, when the installation is suspended, then that is known from the next answer.
    github.user(HERE, MARIA, urgent=True)
    fake.world.suspend(HERE)
    with pytest.raises(SuspendedError):
        github.user(HERE, MARIA, urgent=True)
    # Given that no token is good any more, then it is known from the token that is refused.
    fake.world.suspend(HERE, suspended=False)
    fake.world.uninstall(HERE)
    with pytest.raises(UninstalledError):
        github.user(HERE, MARIA, urgent=True)


def test_a_token_is_refused_to_a_suspended_installation(fake: FakeGitHub, github: GitHub) -> None:
    fake.world.suspend(HERE)
    with pytest.raises(SuspendedError, match="access_tokens"):
        github.user(HERE, MARIA, urgent=True)


def test_an_app_that_github_does_not_know(fake: FakeGitHub, clock: Clock) -> None:
    with (
        asking(fake.url, clock=clock, app_id="1", pem=fake.private_key_pem) as github,
        pytest.raises(CredentialsError, match="TENURE_GITHUB_APP_ID"),
    ):
        github.installations()
    with (
        asking(fake.url, clock=clock, app_id=str(fake.app_id)) as github,
        pytest.raises(CredentialsError, match="private key"),
    ):
        github.user(HERE, MARIA, urgent=True)


def test_it_goes_on_for_days(fake: FakeGitHub, github: GitHub, clock: Clock) -> None:
    """Signatures and tokens end and are made anew in time; GitHub never has to refuse one."""
    for _ in range(300):
        clock.now += 599
        github.user(HERE, MARIA, urgent=False)
        github.installations()
    assert fake.calls == {
        "POST /app/installations/{id}/access_tokens": 50,  # Each is used for 59 minutes.
        "GET /user/{id}": 300,
        "GET /app/installations": 300,
    }


@pytest.mark.parametrize(
    ("told", "page"),
    [
        (
            {"type": "Organization", "login": "reg"},
            "https://ghe.example/organizations/reg/settings/apps/tenure/advanced",
        ),
        ({"type": "User", "login": "reg"}, "https://ghe.example/settings/apps/tenure/advanced"),
        ({"slug": "an-enterprise"}, None),
        (None, None),
    ],
)
def test_the_page_of_an_apps_deliveries_is_where_its_owner_sees_it(
    told: dict[str, str] | None, page: str | None
) -> None:
    body = {"id": 1, "slug": "tenure", "html_url": "https://ghe.example/apps/tenure", "permissions": {}, "events": []}
    assert RegistrationModel.model_validate({**body, "owner": told}).made().deliveries_page == page
