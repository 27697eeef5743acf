"""Where we ask: nowhere but at the configured place, whatever answers say; and lists in pages, to their end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.github.clients import APP_ID, Asked, Calls, Reply, Server, asking, repository, serving
from worker.github.answers import (
    AnswerPage,
    DeliveryAnswer,
    GitHubError,
    LaterError,
    MovedError,
    UnfinishedError,
    UserAnswer,
)
from worker.github.client import GitHub

DELIVERY: dict[str, object] = {
    "id": 2**62,
    "guid": "g-1",
    "delivered_at": "2027-01-15T08:00:00Z",
    "status_code": 502,
    "event": "push",
    "action": None,
    "installation_id": 900,
    "repository_id": None,
}
EIGHT = 1_800_000_000_000_000
"""When that was, microseconds."""


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as started:
        yield started


@pytest.fixture
def elsewhere() -> Iterator[Server]:
    """Another host, which nobody should ever ask."""
    with serving() as started:
        yield started
        assert started.connections == 0


@pytest.fixture
def github(server: Server) -> Iterator[GitHub]:
    with asking(server.url) as client:
        yield client


def test_a_redirect_is_never_followed(server: Server, elsewhere: Server, github: GitHub) -> None:
    for location in (
        f"{elsewhere.url}/repositories/7",
        f"{server.url}@{elsewhere.url.removeprefix('http://')}/repositories/7",
        f"//{elsewhere.url.removeprefix('http://')}/repositories/7",
        f"{server.url}/repositories/7/",
        f"{server.url}/repositories/7?x=1",
        f"{server.url}/repositories/../7",
        f"{server.url}/repositories/seven",
        f"{server.url}/repositories/99999999999999999999",
        "http://[",
        "",
    ):
        server.says(Reply({"message": "Moved"}, 301, {"Location": location}))
        with pytest.raises(MovedError) as caught:
            github.repository_named(900, UserAnswer(41, "octo"), "widgets", urgent=True)
        assert caught.value.repository_id is None, location
    assert {asked.path for asked in server.asked} == {"/repos/octo/widgets"}


@pytest.mark.parametrize("base", ["", "/api/v3"])
def test_a_rename_is_read_and_the_repository_asked_by_its_id(server: Server, base: str) -> None:
    for location in (f"{server.url}{base}/repositories/7", f"{base}/repositories/7"):
        server.answers = lambda asked, to=location: (  # type: ignore[misc]
            Reply(repository(name="gadgets"))
            if asked.path == f"{base}/repositories/7"
            else Reply({"url": "http://127.0.0.1:1/"}, 301, {"Location": to})
        )
        with asking(server.url + base) as github:
            assert github.repository_named(900, UserAnswer(41, "octo"), "widgets", urgent=True).name == "gadgets"
    assert [asked.path for asked in server.asked] == [f"{base}/repos/octo/widgets", f"{base}/repositories/7"] * 2


def test_pages_are_numbered_and_links_only_say_that_there_are_more(
    server: Server, elsewhere: Server, github: GitHub
) -> None:
    link = {"Link": f'<{elsewhere.url}/installation/repositories?page=77>; rel="next"'}
    server.answers = lambda asked: (
        Reply({"total_count": 101, "repositories": [repository(number) for number in range(1, 101)]}, 200, link)
        if asked.params["page"] == "1"
        else Reply({"total_count": 101, "repositories": [repository(101)]})
    )
    pages = list(github.repositories(900, urgent=False))
    assert [(len(page.items), page.total, page.more) for page in pages] == [(100, 101, True), (1, 101, False)]
    assert [asked.params for asked in server.asked] == [
        {"per_page": "100", "page": "1"},
        {"per_page": "100", "page": "2"},
    ]


def test_of_a_link_only_the_cursor_is_taken(server: Server, elsewhere: Server, github: GitHub) -> None:
    link = f'<{elsewhere.url}/app/hook/deliveries?per_page=1&status=success&cursor=v1%5F12%26x>; rel="next"'
    server.answers = lambda asked: (
        Reply([{**DELIVERY, "id": 7}]) if "cursor" in asked.params else Reply([DELIVERY], headers={"Link": link})
    )
    found = list(github.deliveries(status="failure", since=0))
    assert [(each.id, each.delivered_at, each.succeeded) for each in found] == [
        (2**62, EIGHT, False),
        (7, EIGHT, False),
    ]
    assert [asked.params for asked in server.asked] == [
        {"per_page": "100", "status": "failure"},
        {"per_page": "100", "status": "failure", "cursor": "v1_12&x"},
    ]


def test_a_list_that_never_ends_is_left(server: Server, github: GitHub) -> None:
    users = [{"id": number, "login": f"user-{number}"} for number in range(1, 101)]

    # Given a server that gives the same page again and again
    server.says(Reply(users))
    with pytest.raises(UnfinishedError, match="page 2 repeats"):
        list(github.members(900, 41, urgent=False))

    # Given one that goes in a circle of several pages
    server.asked.clear()
    server.answers = lambda asked: Reply([{**user, "id": int(asked.params["page"]) % 2 * 1000 + 1} for user in users])
    with pytest.raises(UnfinishedError, match="page 3 repeats"):
        list(github.members(900, 41, urgent=False))
    assert len(server.asked) == 3
    server.answers = lambda asked: Reply(
        {"total_count": 900, "repositories": [repository(int(asked.params["page"]) % 2 * 1000 + 1)]}
    )
    with pytest.raises(UnfinishedError, match="page 3 repeats"):
        list(github.repositories(900, urgent=False))

    # Given one whose list is much longer than it says, though each page brings something new
    server.answers = lambda asked: Reply(
        {"total_count": 2, "repositories": [repository(int(asked.params["page"]))]},
        headers={"Link": '</installation/repositories?page=2>; rel="next"'},
    )
    with pytest.raises(UnfinishedError, match="2 items do not fill 4 pages"):
        list(github.repositories(900, urgent=False))

    # Given one that always has more
    server.answers = lambda asked: Reply([{**user, "id": int(asked.params["page"]) * 1000} for user in users])
    given: list[AnswerPage[UserAnswer]] = []
    with pytest.raises(UnfinishedError, match="no end after 5 pages"):
        given.extend(github.members(900, 41, urgent=False))
    assert len(given) == 5
    server.answers = lambda asked: Reply(
        {"total_count": 10**9, "repositories": [repository(int(asked.params["page"]))]}
    )
    with pytest.raises(UnfinishedError, match="no end after 5 pages"):
        list(github.repositories(900, urgent=False))


def test_deliveries_are_read_back_to_a_moment_or_to_a_bound(server: Server, github: GitHub) -> None:
    def page(asked: Asked) -> Reply:
        number = int(asked.params.get("cursor", "0"))
        link = f'<{server.url}/app/hook/deliveries?cursor={number + 1}>; rel="next"'
        return Reply(
            [
                {**DELIVERY, "id": 2 * number + 1},
                {**DELIVERY, "id": 2 * number + 2, "delivered_at": f"2027-01-14T0{9 - number}:00:00Z"},
            ],
            headers={"Link": link},
        )

    server.answers = page
    # Given a moment between the two of the second page, when they are read, then no third page is asked for.
    assert len(list(github.deliveries(status="failure", since=EIGHT - 86_400_000_000 + 1))) == 3
    assert len(server.asked) == 2

    # Given a moment before all that GitHub has, when they are read, then it is said that some were left unread.
    given: list[DeliveryAnswer] = []
    with pytest.raises(UnfinishedError, match="left unread after 3 pages"):
        given.extend(github.deliveries(status="failure", since=0))
    assert len(given) == 6


def test_deliveries_that_go_in_a_circle_are_left(server: Server, github: GitHub) -> None:
    def page(asked: Asked) -> Reply:
        number = (int(asked.params.get("cursor", "0")) + 1) % 2
        link = f'<{server.url}/app/hook/deliveries?cursor={number}>; rel="next"'
        return Reply([{**DELIVERY, "id": 7 + number}], headers={"Link": link})

    server.answers = page
    with pytest.raises(UnfinishedError, match="a page repeats"):
        list(github.deliveries(status="failure", since=0))
    assert len(server.asked) == 3


def test_a_page_that_is_not_full_is_not_the_last_if_another_is_named(server: Server, github: GitHub) -> None:
    link = {"Link": '</organizations/41/members?page=2>; rel="next"'}
    server.answers = lambda asked: (
        Reply([{"id": 1, "login": "a"}], headers=link)
        if asked.params["page"] == "1"
        else Reply([{"id": 2, "login": "b"}])
    )
    found = [user.id for page in github.members(900, 41, urgent=False) for user in page.items]
    assert found == [1, 2]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "ä", "a\r\nHost: x", "%2e%2e", "x" * 101, "a?b", "a#b"])
def test_names_that_nothing_on_github_can_have_are_not_asked_for(server: Server, github: GitHub, name: str) -> None:
    for ask in (
        lambda: github.repository_named(900, UserAnswer(41, "octo"), name, urgent=True),
        lambda: github.repository_named(900, UserAnswer(41, name), "widgets", urgent=True),
        lambda: github.membership(900, UserAnswer(41, "octo"), UserAnswer(5, name), urgent=True),
        lambda: github.role(900, "octo", "widgets", UserAnswer(5, name), urgent=True),
    ):
        with pytest.raises(GitHubError, match="not asked"):
            ask()
    assert server.asked == []


def test_an_answer_about_somebody_else_is_none(server: Server, github: GitHub) -> None:
    """Given logins that others took after they were read, when GitHub answers, then nothing is learnt from it."""
    octo, maria = UserAnswer(41, "octo"), UserAnswer(5, "maria")
    strange = repository()
    assert isinstance(strange["owner"], dict)
    strange["owner"] = {**strange["owner"], "id": 666}
    membership = {"state": "active", "user": {"id": 5}, "organization": {"id": 41}}
    for body, ask in (
        (strange, lambda: github.repository_named(900, octo, "widgets", urgent=True)),
        ({**membership, "user": {"id": 666}}, lambda: github.membership(900, octo, maria, urgent=True)),
        ({**membership, "organization": {"id": 666}}, lambda: github.membership(900, octo, maria, urgent=True)),
        ({"state": "active"}, lambda: github.membership(900, octo, maria, urgent=True)),
        ({"permission": "write", "user": {"id": 666}}, lambda: github.role(900, "octo", "w", maria, urgent=True)),
        ({"permission": "write"}, lambda: github.role(900, "octo", "w", maria, urgent=True)),
    ):
        server.says(Reply(body))
        with pytest.raises(LaterError):
            ask()


def test_every_call_is_told_of(server: Server) -> None:
    calls = Calls()
    with asking(server.url, calls=calls) as github:
        with pytest.raises(GitHubError):
            github.role(900, "octo", "widgets", UserAnswer(5, "maria"), urgent=True)
        server.says(Reply({"permission": "write", "user": {"id": 5}}))
        assert github.role(900, "octo", "widgets", UserAnswer(5, "maria"), urgent=True)
    route = "/repos/{owner}/{name}/collaborators/{login}/permission"
    assert calls == [("/app/installations/{installation}/access_tokens", "ok"), (route, "gone"), (route, "ok")]


def test_the_request_says_who_asks_and_how(server: Server, github: GitHub) -> None:
    server.says(Reply(repository()))
    github.repository(900, 7, urgent=True)
    headers = server.asked[0].headers
    assert headers["accept"] == "application/vnd.github+json"
    assert headers["x-github-api-version"] == "2022-11-28"
    assert headers["user-agent"] == "Tenure"
    assert APP_ID not in str(headers)
