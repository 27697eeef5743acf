"""The questions that Tenure has for GitHub.

Every method raises `GitHubError` for an answer other than the one it returns (`answers` shows the tree); those about a
repository, a member or a user mean by `GoneError` that it is gone or not visible. Every method that takes `urgent` asks
in the name of an installation; `urgent` opens the reserve of its budget, and that of the App's for its token.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Literal, Protocol, TypeAlias, TypeVar

import httpx

from worker.github import models
from worker.github.answers import (
    AnswerPage,
    AppAnswer,
    DeliveryAnswer,
    EnvironmentAnswer,
    File,
    GoneError,
    HookAnswer,
    InstallationAnswer,
    LaterError,
    MovedError,
    RepositoryAnswer,
    RulesetAnswer,
    UnfinishedError,
    UserAnswer,
)
from worker.github.budget import APP, Budgets
from worker.github.models import PER_PAGE
from worker.github.refusals import (
    ATTEMPTS,
    BRANCH,
    BRANCH_POLICIES,
    BRANCHES,
    CONTENTS,
    ENVIRONMENT,
    ENVIRONMENTS,
    HOOK,
    INSTALLATIONS,
    MEMBERS,
    MEMBERSHIP,
    REGISTRATION,
    RULESET,
    RULESETS,
    WORKFLOW,
    WORKFLOWS,
    ApiRequest,
    api_request,
)
from worker.github.session import ApiSession
from worker.github.wire import Timeouts
from worker.lifecycle.facts import Micros

MAX_PAGES = 2_000
"""Of a list, after which it is not believed to end."""
MAX_DELIVERY_PAGES = 50
"""Of deliveries that one look takes."""


class _Numbered(Protocol):
    """What GitHub lists, and knows by an id."""

    @property
    def id(self) -> int: ...


ItemT = TypeVar("ItemT", bound=_Numbered)
_Part: TypeAlias = tuple[tuple[ItemT, ...], int | None, bool]
"""Items of a page, how many the list should have, and whether GitHub names a next page."""


class GitHub:
    """GitHub's API, asked as one App. Threads may share it.

    `api_url` is `https://api.github.com`, or a server's `https://host/api/v3`. `private_key` gives the App's key in PEM, another
    one once it was rotated. `clock` gives unix seconds. `on_call` is
    told of every request that was sent: its route's template, and `ok` or the error's `outcome`. `until` gives, before each
    request, the monotonic moment by which it has to be answered, or raises the `LaterError` that keeps it from being sent.
    A `transport` takes the place of the one that keeps the total time.

    Raises:
        ValueError: the private key cannot be used; the message does not hold it.

    """

    def __init__(
        self,
        *,
        api_url: str,
        app_id: str,
        private_key: Callable[[], str],
        clock: Callable[[], float],
        budgets: Budgets,
        transport: httpx.BaseTransport | None = None,
        on_call: Callable[[str, str], None] | None = None,
        until: Callable[[], float] = lambda: math.inf,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - immutable
        max_pages: int = MAX_PAGES,
        max_delivery_pages: int = MAX_DELIVERY_PAGES,
    ) -> None:
        self._max_pages = max_pages
        self._max_delivery_pages = max_delivery_pages
        self._session = ApiSession(
            api_url=api_url,
            app_id=app_id,
            private_key=private_key,
            clock=clock,
            budgets=budgets,
            transport=transport,
            on_call=on_call,
            until=until,
            timeouts=timeouts,
        )

    def close(self) -> None:
        """Close all connections."""
        self._session.close()

    # Asked as the App

    def app(self) -> AppAnswer:
        """The App itself."""
        return self._session.as_app(api_request(APP, "GET", REGISTRATION), models.REGISTRATION).value.made()

    def hook(self) -> HookAnswer:
        """Where its webhooks go. `GoneError`: it has none."""
        return self._session.as_app(api_request(APP, "GET", HOOK), models.HOOK).value.made()

    def installations(self) -> list[InstallationAnswer]:
        """All accounts that have installed the App. Enterprises and deleted accounts are left out: they own nothing."""

        def ask(params: Mapping[str, str]) -> _Part[models.InstallationModel]:
            answered = self._session.as_app(api_request(APP, "GET", INSTALLATIONS, params), models.INSTALLATIONS)
            return tuple(answered.value), None, answered.following is not None

        listed = (item for page in self._pages(INSTALLATIONS, ask) for item in page.items)
        return [made for item in listed if (made := item.made()) is not None]

    def deliveries(self, *, status: Literal["failure", "success"], since: Micros) -> Iterator[DeliveryAnswer]:
        """Attempts to deliver webhooks to us, newest first, back to `since`. GitHub keeps those of three days.

        Raises:
            UnfinishedError: after what was given, for there are more pages than one look takes.

        """
        params = {"per_page": str(PER_PAGE), "status": status}
        ids: set[int] = set()
        for _ in range(self._max_delivery_pages):
            request = api_request(APP, "GET", "/app/hook/deliveries", params)
            answered = self._session.as_app(request, models.DELIVERIES)
            deliveries_read = [item.made() for item in answered.value]
            if deliveries_read and ids.issuperset(delivery.id for delivery in deliveries_read):
                raise UnfinishedError("GET /app/hook/deliveries: a page repeats what was listed before; sweep instead")
            ids.update(delivery.id for delivery in deliveries_read)
            yield from (delivery for delivery in deliveries_read if delivery.delivered_at >= since)
            cursor = (answered.following or {}).get("cursor")
            if cursor is None or not deliveries_read or deliveries_read[-1].delivered_at < since:
                return
            params = {**params, "cursor": cursor}
        raise UnfinishedError(
            f"GET /app/hook/deliveries: older ones are left unread after {self._max_delivery_pages} pages; sweep instead"
        )

    def redeliver(self, delivery_id: int) -> None:
        """Have GitHub deliver a webhook once more. `GoneError`: it does not keep it any more."""
        self._session.order(api_request(APP, "POST", ATTEMPTS, delivery=delivery_id))

    # Asked as an installation

    def repositories(self, installation: int, *, urgent: bool) -> Iterator[AnswerPage[RepositoryAnswer]]:
        """What the installation can see, a hundred at a time."""
        route = "/installation/repositories"

        def ask(params: Mapping[str, str]) -> _Part[RepositoryAnswer]:
            request = api_request(installation, "GET", route, params)
            answered = self._session.as_installation(request, models.REPOSITORIES, urgent=urgent)
            items = tuple(item.made() for item in answered.value.repositories)
            return items, answered.value.total_count, answered.following is not None

        return self._pages(f"{route} (installation {installation})", ask)

    def members(self, installation: int, organization_id: int, *, urgent: bool) -> Iterator[AnswerPage[UserAnswer]]:
        """The members of an organisation, a hundred at a time."""

        def ask(params: Mapping[str, str]) -> _Part[UserAnswer]:
            request = api_request(installation, "GET", MEMBERS, params, organization=organization_id)
            answered = self._session.as_installation(request, models.USERS, urgent=urgent)
            return tuple(item.made() for item in answered.value), None, answered.following is not None

        return self._pages(f"{MEMBERS} (installation {installation})", ask)

    def repository(self, installation: int, repository_id: int, *, urgent: bool) -> RepositoryAnswer:
        """The repository with this id, whatever it is called and whoever owns it now."""
        request = api_request(installation, "GET", "/repositories/{repository}", repository=repository_id)
        answer = self._session.as_installation(request, models.REPOSITORY, urgent=urgent).value.made()
        if answer.id != repository_id:
            raise LaterError(f"{request}: id: the answer is about another repository, {answer.id}; ask again later")
        return answer

    def repository_named(self, installation: int, owner: UserAnswer, name: str, *, urgent: bool) -> RepositoryAnswer:
        """The repository under this name, or the one that once had it and was renamed or given away.

        Raises:
            LaterError: the owner's login is somebody else's by now, so the answer is about a stranger's repository.
        """
        request = api_request(installation, "GET", "/repos/{owner}/{name}", owner=owner.login, name=name)
        answer, moved = self._at(request, installation, urgent=urgent)
        if not moved:
            _same(request, "owner", answer.owner_id, owner.id)
        return answer

    def repository_at(self, installation: int, login: str, name: str, *, urgent: bool) -> RepositoryAnswer:
        """The repository that has this address, or the one that had it last if it was renamed or given away. Who that is,
        nobody knew before.
        """
        request = api_request(installation, "GET", "/repos/{owner}/{name}", owner=login, name=name)
        return self._at(request, installation, urgent=urgent)[0]

    def _at(self, request: ApiRequest, installation: int, *, urgent: bool) -> tuple[RepositoryAnswer, bool]:
        """What has an address, and whether it only had it once."""
        try:
            return self._session.as_installation(request, models.REPOSITORY, urgent=urgent).value.made(), False
        except MovedError as error:
            if error.repository_id is None:
                raise
            return self.repository(installation, error.repository_id, urgent=urgent), True

    def membership(self, installation: int, organization: UserAnswer, user: UserAnswer, *, urgent: bool) -> bool:
        """Whether the user is a member; an invitation that was not accepted is none. `GoneError`: not even invited, if
        both are still called so.

        Raises:
            LaterError: one of the logins is somebody else's by now.
        """
        request = api_request(installation, "GET", MEMBERSHIP, organization=organization.login, login=user.login)
        answer = self._session.as_installation(request, models.MEMBERSHIP, urgent=urgent).value
        _same(request, "organization", answer.organization.id, organization.id)
        _same(request, "user", answer.user.id, user.id)
        return answer.active

    def role(self, installation: int, owner: str, name: str, user: UserAnswer, *, urgent: bool) -> bool:
        """Whether the user may write to the repository, by whatever way. The answer does not say which repository it is
        about: that is to be asked by its id, before and after.

        Raises:
            LaterError: the user's login is somebody else's by now.
        """
        route = "/repos/{owner}/{name}/collaborators/{login}/permission"
        request = api_request(installation, "GET", route, owner=owner, name=name, login=user.login)
        answer = self._session.as_installation(request, models.ROLE, urgent=urgent).value
        _same(request, "user", answer.user.id, user.id)
        return answer.writes

    def user(self, installation: int, user_id: int, *, urgent: bool) -> UserAnswer:
        """The user with this id, under the present login."""
        request = api_request(installation, "GET", "/user/{user}", user=user_id)
        answer = self._session.as_installation(request, models.USER, urgent=urgent).value.made()
        if answer.id != user_id:
            raise LaterError(f"{request}: id: the answer is about another user, {answer.id}; ask again later")
        return answer

    def account(self, installation: int, login: str, *, urgent: bool) -> UserAnswer:
        """The user or organisation that has a login now. `GoneError`: none has, or what has it owns no repositories."""
        request = api_request(installation, "GET", "/users/{login}", login=login)
        answer = self._session.as_installation(request, models.ACCOUNT, urgent=urgent).value.made()
        if answer is None:
            raise GoneError(f"{request}: neither a user nor an organisation; give the login of a repository's owner")
        if answer.login.lower() != login.lower():
            raise LaterError(f"{request}: login: the answer is about another account, {answer.id}; ask again later")
        return answer

    def may(self, installation: int, permission: str, *, urgent: bool) -> bool:
        """Whether the installation has a permission, at least for reading: `contents`. Where it has not, a 404 says nothing."""
        return self._session.may(installation, permission, urgent=urgent)

    def workflow(self, installation: int, repository_id: int, file: str, *, urgent: bool) -> File:
        """A workflow file as it is on the default branch. `GoneError`: there is none that is spelt so, or there is no
        permission to see it.
        """
        request = api_request(installation, "GET", WORKFLOW, repository=repository_id, file=file)
        return self._session.as_installation(request, models.FILE, urgent=urgent).value.made()

    def workflows(self, installation: int, repository_id: int, *, urgent: bool) -> list[str]:
        """The names of the workflow files on the default branch, at most a thousand of them. `GoneError`: as `workflow`."""
        return self._files(WORKFLOWS, installation, repository_id, urgent=urgent)

    def contents(self, installation: int, repository_id: int, *, urgent: bool) -> list[str]:
        """The same of the files beside its folders. `GoneError`: it is empty, or there is no permission to see it."""
        return self._files(CONTENTS, installation, repository_id, urgent=urgent)

    def _files(self, route: str, installation: int, repository_id: int, *, urgent: bool) -> list[str]:
        request = api_request(installation, "GET", route, repository=repository_id)
        found = self._session.as_installation(request, models.FOLDER, urgent=urgent).value
        return [entry.name for entry in found if entry.type == "file"]

    def environment(self, installation: int, repository_id: int, name: str, *, urgent: bool) -> EnvironmentAnswer:
        """A deployment environment, letter case aside. `GoneError`: there is none, or there is no permission to see it."""
        request = api_request(installation, "GET", ENVIRONMENT, repository=repository_id, environment=name)
        return self._session.as_installation(request, models.ENVIRONMENT, urgent=urgent).value.made()

    def environments(self, installation: int, repository_id: int, *, urgent: bool) -> list[str]:
        """The names of the first hundred environments. `GoneError`: as `environment`."""
        request = api_request(installation, "GET", ENVIRONMENTS, {"per_page": str(PER_PAGE)}, repository=repository_id)
        found = self._session.as_installation(request, models.ENVIRONMENTS, urgent=urgent).value
        return [each.name for each in found.environments]

    def admitted(self, installation: int, repository_id: int, name: str, *, urgent: bool) -> list[str]:
        """Patterns of the branches and tags that an environment admits, the first hundred. `GoneError`: as `environment`."""
        request = api_request(
            installation,
            "GET",
            BRANCH_POLICIES,
            {"per_page": str(PER_PAGE)},
            repository=repository_id,
            environment=name,
        )
        found = self._session.as_installation(request, models.BRANCH_POLICIES, urgent=urgent).value
        return [each.name for each in found.branch_policies]

    def is_protected(self, installation: int, repository_id: int, branch: str, *, urgent: bool) -> bool:
        """Whether a branch is protected, by a rule for it or by a ruleset. `GoneError`: there is none that is spelt so, or
        there is no permission to see it.
        """
        request = api_request(installation, "GET", BRANCH, repository=repository_id, branch=branch)
        return self._session.as_installation(request, models.BRANCH, urgent=urgent).value.protected

    def branches(self, installation: int, repository_id: int, *, protected: bool, urgent: bool) -> list[str]:
        """The names of the first hundred branches that are protected, or that are not. `GoneError`: as `is_protected`."""
        params = {"per_page": str(PER_PAGE), "protected": str(protected).lower()}
        request = api_request(installation, "GET", BRANCHES, params, repository=repository_id)
        return [each.name for each in self._session.as_installation(request, models.BRANCHES, urgent=urgent).value]

    def rulesets(self, installation: int, repository_id: int, *, urgent: bool) -> list[int]:
        """The ids of the rulesets that are in force for branches or tags of a repository, of the first hundred."""
        params = {"per_page": str(PER_PAGE), "includes_parents": "true"}
        request = api_request(installation, "GET", RULESETS, params, repository=repository_id)
        found = self._session.as_installation(request, models.RULESETS, urgent=urgent).value
        return [each.id for each in found if each.protects]

    def ruleset(self, installation: int, repository_id: int, ruleset_id: int, *, urgent: bool) -> RulesetAnswer:
        """One of them."""
        request = api_request(
            installation, "GET", RULESET, {"includes_parents": "true"}, repository=repository_id, ruleset=ruleset_id
        )
        return self._session.as_installation(request, models.RULESET, urgent=urgent).value.made()

    def _pages(self, where: str, ask: Callable[[Mapping[str, str]], _Part[ItemT]]) -> Iterator[AnswerPage[ItemT]]:
        """The pages of a list, by their numbers.

        A page that is not full is not always the last: GitHub leaves out what we may not see after it made the pages. So
        a list ends where it has as many items as it should, or, if it does not say, where no next page is named and this
        one is not full. What moves while the pages are read comes twice; a page that brings nothing new is a circle.
        """
        seen: set[int] = set()
        for number in range(1, self._max_pages + 1):
            items, total, named = ask({"per_page": str(PER_PAGE), "page": str(number)})
            if items and seen.issuperset(item.id for item in items):
                raise UnfinishedError(f"GET {where}: page {number} repeats what was listed before; ask again later")
            if total is not None and number > 2 * pages(total) + 1:
                raise UnfinishedError(f"GET {where}: {total} items do not fill {number} pages; ask again later")
            seen.update(item.id for item in items)
            more = bool(items) and (named or (len(items) >= PER_PAGE if total is None else len(seen) < total))
            yield AnswerPage(items, total, more)
            if not more:
                return
        raise UnfinishedError(f"GET {where}: no end after {self._max_pages} pages; ask again later")


def _same(request: ApiRequest, field: str, actual: int, expected: int) -> None:
    if actual != expected:
        raise LaterError(f"{request}: {field}.id: the answer is about another one, {actual}; ask again later")


def pages(count: int | None) -> int:
    """Calls for a list of so many; one if nobody knows how many."""
    return max(1, -(-(count or 1) // PER_PAGE))
