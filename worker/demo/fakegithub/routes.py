"""Each route of GitHub's API that Tenure uses, and what answers it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from worker.demo.fakegithub import payloads
from worker.demo.fakegithub.answers import (
    RefusalError,
    Request,
    ResponseRecord,
    forbidden,
    link,
    missing,
    page_of,
    paged,
)
from worker.demo.fakegithub.auth import Auth
from worker.demo.fakegithub.records import (
    AccountRecord,
    DeliveryRecord,
    EnvironmentRecord,
    InstallationRecord,
    NotThereError,
    RepositoryRecord,
)
from worker.demo.fakegithub.state import is_selected
from worker.demo.fakegithub.world import World

OUTCOMES = {"success": range(200, 400), "failure": range(400, 600)}


class RoutedRequest(NamedTuple):
    """A request that found its route, and everything to answer it from."""

    request: Request
    params: Mapping[str, str]
    world: World
    auth: Auth
    installation: InstallationRecord | None

    def seer(self) -> InstallationRecord:
        """Raises RefusalError: this route is for installations, and the App itself asks."""
        if self.installation is None:
            raise forbidden()
        return self.installation

    def number(self, name: str) -> int:
        """Raises RefusalError: no such thing, since that is no id."""
        given = self.params[name]
        if not (given.isascii() and given.isdecimal()):
            raise missing()
        return int(given)


Handler: TypeAlias = Callable[[RoutedRequest], ResponseRecord]


# For the App itself.


def access_tokens(routed: RoutedRequest) -> ResponseRecord:
    try:
        match = routed.world.installation(routed.number("id"))
    except NotThereError:
        raise missing() from None
    if match.suspended:
        raise RefusalError(403, "This installation has been suspended")
    token, ends = routed.auth.issue(match.id)
    body = {
        "token": token,
        "expires_at": payloads.moment(ends),
        "permissions": payloads.permissions(match),
        "repository_selection": payloads.selection(match),
    }
    return ResponseRecord(201, body)


def app(routed: RoutedRequest) -> ResponseRecord:
    match = routed.world.registration
    body = {
        "id": routed.world.app_id,
        "slug": "tenure",
        "name": "Tenure",
        "html_url": "https://github.example/apps/tenure",
        "owner": {"login": "registry", "id": 1, "type": "Organization"},
        "permissions": dict.fromkeys(match.permissions, "read"),
        "events": list(match.events),
    }
    return ResponseRecord(200, body)


def hook_config(routed: RoutedRequest) -> ResponseRecord:
    match = routed.world.registration
    if match.hook_url is None:
        raise missing()
    secret = "********"
    body = {"url": match.hook_url, "content_type": match.content_type, "insecure_ssl": match.insecure_ssl}
    return ResponseRecord(200, {**body, "secret": secret})


def installations(routed: RoutedRequest) -> ResponseRecord:
    world = routed.world
    part, links = paged(routed.request, world.installations())
    return ResponseRecord(
        200, [payloads.installation(i, world.account(i.account_id), world.app_id) for i in part], links
    )


def deliveries(routed: RoutedRequest) -> ResponseRecord:
    query, hooks = routed.request.query, routed.world.hooks
    match = hooks.deliveries()
    if "status" in query:
        if query["status"] not in OUTCOMES:
            raise RefusalError(422, "status: give success or failure")
        match = [item for item in match if item.status_code in OUTCOMES[query["status"]]]
    if "cursor" in query:
        version, _, last = query["cursor"].partition("_")
        if version != "v1" or not last.isdecimal():
            raise RefusalError(422, "cursor: take it from the link to the next page")
        match = _older(match, int(last))
    size = page_of(routed.request).size
    part = match[:size]
    links: dict[str, str] = {}
    if len(match) > size:
        again = {name: value for name, value in query.items() if name == "status"}
        links["link"] = link(routed.request, "next", {**again, "per_page": size, "cursor": f"v1_{part[-1].id}"})
    return ResponseRecord(200, [payloads.delivery(item) for item in part], links)


def attempts(routed: RoutedRequest) -> ResponseRecord:
    hooks = routed.world.hooks
    try:
        match = hooks.delivery(routed.number("id"))
    except NotThereError:
        raise missing() from None
    if not hooks.is_kept(match):
        raise RefusalError(422, "This delivery is too old to be sent again")
    hooks.redeliver(match)
    return ResponseRecord(202, {})


# For installations.


def own_repositories(routed: RoutedRequest) -> ResponseRecord:
    seer = routed.seer()
    match = routed.world.repositories_of(seer)
    part, links = paged(routed.request, match)
    body = {
        "total_count": len(match),
        "repository_selection": payloads.selection(seer),
        "repositories": [payloads.repository(repo, routed.world.account(repo.owner_id)) for repo in part],
    }
    return ResponseRecord(200, body, links)


def repository_by_id(routed: RoutedRequest) -> ResponseRecord:
    try:
        repo = routed.world.repository(routed.number("id"))
    except NotThereError:
        raise missing() from None
    return _shown(routed, _visible(routed, repo))


def repository_by_name(routed: RoutedRequest) -> ResponseRecord:
    return _shown(routed, _named_repository(routed))


def contents(routed: RoutedRequest) -> ResponseRecord:
    """Beside its workflows, each repository has this one file."""
    _readable(routed)
    return ResponseRecord(200, [payloads.file("README.md", b"")])


def workflows(routed: RoutedRequest) -> ResponseRecord:
    """A list, or 404 where there is no such folder: GitHub's has no folders that are empty."""
    match = routed.world.workflows(_readable(routed).id)
    if not match:
        raise missing()
    return ResponseRecord(200, [payloads.file(name, held) for name, held in sorted(match.items())])


def workflow(routed: RoutedRequest) -> ResponseRecord:
    match, name = routed.world.workflows(_readable(routed).id), routed.params["file"]
    if name not in match:
        raise missing()
    return ResponseRecord(200, payloads.file(name, match[name]))


def environments(routed: RoutedRequest) -> ResponseRecord:
    match = [payloads.environment(each) for each in routed.world.environments(_readable(routed, "actions").id).values()]
    return ResponseRecord(200, {"total_count": len(match), "environments": match[: page_of(routed.request).size]})


def environment(routed: RoutedRequest) -> ResponseRecord:
    return ResponseRecord(200, payloads.environment(_environment(routed)))


def branch_policies(routed: RoutedRequest) -> ResponseRecord:
    match = [{"id": i, "name": name} for i, name in enumerate(_environment(routed).admits or (), 1)]
    return ResponseRecord(200, {"total_count": len(match), "branch_policies": match[: page_of(routed.request).size]})


def branches(routed: RoutedRequest) -> ResponseRecord:
    repo, wanted = _readable(routed), routed.request.query.get("protected")
    match = [
        payloads.branch(name, protected=protected)
        for name, protected in sorted(routed.world.branches(repo.id).items())
        if wanted in (None, str(protected).lower())
    ]
    return ResponseRecord(200, match[: page_of(routed.request).size])


def branch(routed: RoutedRequest) -> ResponseRecord:
    match, name = routed.world.branches(_readable(routed).id), routed.params["branch"]
    if name not in match:
        raise missing()
    return ResponseRecord(200, payloads.branch(name, protected=match[name]))


def rulesets(routed: RoutedRequest) -> ResponseRecord:
    repo = _readable(routed, "metadata")
    part, links = paged(routed.request, list(routed.world.rulesets(repo.id).values()))
    return ResponseRecord(200, [payloads.listed_ruleset(each) for each in part], links)


def ruleset(routed: RoutedRequest) -> ResponseRecord:
    match = routed.world.rulesets(_readable(routed, "metadata").id).get(routed.number("ruleset"))
    if match is None:
        raise missing()
    return ResponseRecord(200, payloads.ruleset(match))


def _environment(routed: RoutedRequest) -> EnvironmentRecord:
    match = routed.world.environments(_readable(routed, "actions").id).get(routed.params["name"].lower())
    if match is None:
        raise missing()
    return match


def _readable(routed: RoutedRequest, permission: str = "contents") -> RepositoryRecord:
    """The repository, if the installation may read what it holds."""
    try:
        repo = _visible(routed, routed.world.repository(routed.number("id")))
    except NotThereError:
        raise missing() from None
    if permission not in {"metadata", *routed.seer().permissions} and repo.visibility != "public":
        raise missing()
    return repo


def permission(routed: RoutedRequest) -> ResponseRecord:
    repo = _named_repository(routed, f"/collaborators/{routed.params['user']}/permission")
    if not is_selected(routed.seer(), repo):
        raise forbidden()
    user = _user(routed)
    access = routed.world.access(repo, user.id)
    body = {"permission": access.permission, "role_name": access.role_name, "user": payloads.account(user)}
    return ResponseRecord(200, body)


def members_by_id(routed: RoutedRequest) -> ResponseRecord:
    try:
        org = routed.world.account(routed.number("id"))
    except NotThereError:
        raise missing() from None
    return _members(routed, org)


def members(routed: RoutedRequest) -> ResponseRecord:
    return _members(routed, _members_org(routed))


def _members(routed: RoutedRequest, org: AccountRecord) -> ResponseRecord:
    seer = routed.seer()
    if org.deleted or org.kind != "Organization":
        raise missing()
    if seer.account_id != org.id or not seer.members_permission:
        raise forbidden()
    part, links = paged(routed.request, routed.world.members(org.id))
    return ResponseRecord(200, [payloads.account(user) for user in part], links)


def membership(routed: RoutedRequest) -> ResponseRecord:
    org = _members_org(routed)
    user = _user(routed)
    match = routed.world.membership(org.id, user.id)
    if match is None:
        raise missing()
    return ResponseRecord(200, payloads.membership(match, user, org))


def account_by_id(routed: RoutedRequest) -> ResponseRecord:
    routed.seer()
    try:
        match = routed.world.account(routed.number("id"))
    except NotThereError:
        raise missing() from None
    if match.deleted:
        raise missing()
    return ResponseRecord(200, payloads.account(match))


def account_by_login(routed: RoutedRequest) -> ResponseRecord:
    """By its present login alone: GitHub leads nobody from a former one to whom it belonged."""
    routed.seer()
    match = routed.world.account_called(routed.params["login"])
    if match is None or match.deleted:
        raise missing()
    return ResponseRecord(200, payloads.account(match))


ROUTES: dict[str, Handler] = {
    "POST /app/installations/{id}/access_tokens": access_tokens,
    "GET /app": app,
    "GET /app/hook/config": hook_config,
    "GET /app/installations": installations,
    "GET /app/hook/deliveries": deliveries,
    "POST /app/hook/deliveries/{id}/attempts": attempts,
    "GET /installation/repositories": own_repositories,
    "GET /repositories/{id}": repository_by_id,
    "GET /repositories/{id}/contents": contents,
    "GET /repositories/{id}/contents/.github/workflows": workflows,
    "GET /repositories/{id}/contents/.github/workflows/{file}": workflow,
    "GET /repositories/{id}/environments": environments,
    "GET /repositories/{id}/environments/{name}": environment,
    "GET /repositories/{id}/environments/{name}/deployment-branch-policies": branch_policies,
    "GET /repositories/{id}/branches": branches,
    "GET /repositories/{id}/branches/{branch}": branch,
    "GET /repositories/{id}/rulesets": rulesets,
    "GET /repositories/{id}/rulesets/{ruleset}": ruleset,
    "GET /repos/{owner}/{repo}": repository_by_name,
    "GET /repos/{owner}/{repo}/collaborators/{user}/permission": permission,
    "GET /organizations/{id}/members": members_by_id,
    "GET /orgs/{org}/members": members,
    "GET /orgs/{org}/memberships/{user}": membership,
    "GET /user/{id}": account_by_id,
    "GET /users/{login}": account_by_login,
}
FOR_THE_APP = ("/app", "/app/")
"""The path, and how those begin, that take the App's JWT; all others take an installation's token."""


# What several of them have in common.


def _visible(routed: RoutedRequest, repo: RepositoryRecord) -> RepositoryRecord:
    if not routed.world.sees(routed.seer(), repo):
        raise missing()
    if repo.blocked:
        raise RefusalError(451, "Repository access blocked")
    return repo


def _shown(routed: RoutedRequest, repo: RepositoryRecord) -> ResponseRecord:
    return ResponseRecord(200, payloads.repository(repo, routed.world.account(repo.owner_id)))


def _named_repository(routed: RoutedRequest, rest: str = "") -> RepositoryRecord:
    """By owner and name. An old name is answered with 301, if the installation may see what is behind it."""
    match = routed.world.repository_called(routed.params["owner"], routed.params["repo"])
    if match is None:
        raise missing()
    repo, moved = match
    _visible(routed, repo)
    if moved:
        raise RefusalError(
            301, "Moved Permanently", {"location": f"{routed.request.base_url}/repositories/{repo.id}{rest}"}
        )
    return repo


def _older(deliveries: list[DeliveryRecord], last: int) -> list[DeliveryRecord]:
    """What follows the last one of the page before; GitHub may have sent more in between."""
    place = next((place for place, item in enumerate(deliveries) if item.id == last), None)
    return [] if place is None else deliveries[place + 1 :]


def _user(routed: RoutedRequest) -> AccountRecord:
    match = routed.world.account_called(routed.params["user"])
    if match is None:
        raise missing()
    return match


def _members_org(routed: RoutedRequest) -> AccountRecord:
    """The organisation, if the installation may read its members."""
    match = routed.world.account_called(routed.params["org"])
    if match is None or match.kind != "Organization":
        raise missing()
    seer = routed.seer()
    if seer.account_id != match.id or not seer.members_permission:
        raise forbidden()
    return match
