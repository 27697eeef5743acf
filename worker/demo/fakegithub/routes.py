"""Each route of GitHub's API that Tenure uses, and what answers it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from worker.demo.fakegithub import payloads
from worker.demo.fakegithub.answers import Answer, RefusalError, Request, forbidden, link, not_found, page_of, paged
from worker.demo.fakegithub.auth import Auth
from worker.demo.fakegithub.records import Account, Delivery, Environment, Installation, NotThereError, Repository
from worker.demo.fakegithub.state import is_given
from worker.demo.fakegithub.world import World

OUTCOMES = {"success": range(200, 400), "failure": range(400, 600)}


class Asked(NamedTuple):
    """A request that found its route, and everything to answer it from."""

    request: Request
    params: Mapping[str, str]
    world: World
    auth: Auth
    installation: Installation | None

    def seer(self) -> Installation:
        """Raises RefusalError: this route is for installations, and the App itself asks."""
        if self.installation is None:
            raise forbidden()
        return self.installation

    def number(self, name: str) -> int:
        """Raises RefusalError: no such thing, since that is no id."""
        given = self.params[name]
        if not (given.isascii() and given.isdecimal()):
            raise not_found()
        return int(given)


Handler: TypeAlias = Callable[[Asked], Answer]


# For the App itself.


def access_tokens(asked: Asked) -> Answer:
    try:
        found = asked.world.installation(asked.number("id"))
    except NotThereError:
        raise not_found() from None
    if found.suspended:
        raise RefusalError(403, "This installation has been suspended")
    token, ends = asked.auth.issue(found.id)
    body = {
        "token": token,
        "expires_at": payloads.moment(ends),
        "permissions": payloads.permissions(found),
        "repository_selection": payloads.selection(found),
    }
    return Answer(201, body)


def app(asked: Asked) -> Answer:
    found = asked.world.registration
    body = {
        "id": asked.world.app_id,
        "slug": "tenure",
        "name": "Tenure",
        "html_url": "https://github.example/apps/tenure",
        "owner": {"login": "registry", "id": 1, "type": "Organization"},
        "permissions": dict.fromkeys(found.permissions, "read"),
        "events": list(found.events),
    }
    return Answer(200, body)


def hook_config(asked: Asked) -> Answer:
    found = asked.world.registration
    if found.hook_url is None:
        raise not_found()
    secret = "********"
    body = {"url": found.hook_url, "content_type": found.content_type, "insecure_ssl": found.insecure_ssl}
    return Answer(200, {**body, "secret": secret})


def installations(asked: Asked) -> Answer:
    world = asked.world
    part, links = paged(asked.request, world.installations())
    return Answer(200, [payloads.installation(i, world.account(i.account_id), world.app_id) for i in part], links)


def deliveries(asked: Asked) -> Answer:
    query, hooks = asked.request.query, asked.world.hooks
    found = hooks.deliveries()
    if "status" in query:
        if query["status"] not in OUTCOMES:
            raise RefusalError(422, "status: give success or failure")
        found = [item for item in found if item.status_code in OUTCOMES[query["status"]]]
    if "cursor" in query:
        version, _, last = query["cursor"].partition("_")
        if version != "v1" or not last.isdecimal():
            raise RefusalError(422, "cursor: take it from the link to the next page")
        found = _older(found, int(last))
    size = page_of(asked.request).size
    part = found[:size]
    links: dict[str, str] = {}
    if len(found) > size:
        again = {name: value for name, value in query.items() if name == "status"}
        links["link"] = link(asked.request, "next", {**again, "per_page": size, "cursor": f"v1_{part[-1].id}"})
    return Answer(200, [payloads.delivery(item) for item in part], links)


def attempts(asked: Asked) -> Answer:
    hooks = asked.world.hooks
    try:
        found = hooks.delivery(asked.number("id"))
    except NotThereError:
        raise not_found() from None
    if not hooks.is_kept(found):
        raise RefusalError(422, "This delivery is too old to be sent again")
    hooks.redeliver(found)
    return Answer(202, {})


# For installations.


def own_repositories(asked: Asked) -> Answer:
    seer = asked.seer()
    found = asked.world.repositories_of(seer)
    part, links = paged(asked.request, found)
    body = {
        "total_count": len(found),
        "repository_selection": payloads.selection(seer),
        "repositories": [payloads.repository(repo, asked.world.account(repo.owner_id)) for repo in part],
    }
    return Answer(200, body, links)


def repository_by_id(asked: Asked) -> Answer:
    try:
        repo = asked.world.repository(asked.number("id"))
    except NotThereError:
        raise not_found() from None
    return _shown(asked, _visible(asked, repo))


def repository_by_name(asked: Asked) -> Answer:
    return _shown(asked, _named_repository(asked))


def contents(asked: Asked) -> Answer:
    """Beside its workflows, each repository has this one file."""
    _readable(asked)
    return Answer(200, [payloads.file("README.md", b"")])


def workflows(asked: Asked) -> Answer:
    """A list, or 404 where there is no such folder: GitHub's has no folders that are empty."""
    found = asked.world.workflows(_readable(asked).id)
    if not found:
        raise not_found()
    return Answer(200, [payloads.file(name, held) for name, held in sorted(found.items())])


def workflow(asked: Asked) -> Answer:
    found, name = asked.world.workflows(_readable(asked).id), asked.params["file"]
    if name not in found:
        raise not_found()
    return Answer(200, payloads.file(name, found[name]))


def environments(asked: Asked) -> Answer:
    found = [payloads.environment(each) for each in asked.world.environments(_readable(asked, "actions").id).values()]
    return Answer(200, {"total_count": len(found), "environments": found[: page_of(asked.request).size]})


def environment(asked: Asked) -> Answer:
    return Answer(200, payloads.environment(_environment(asked)))


def branch_policies(asked: Asked) -> Answer:
    found = [{"id": i, "name": name} for i, name in enumerate(_environment(asked).admits or (), 1)]
    return Answer(200, {"total_count": len(found), "branch_policies": found[: page_of(asked.request).size]})


def _environment(asked: Asked) -> Environment:
    found = asked.world.environments(_readable(asked, "actions").id).get(asked.params["name"].lower())
    if found is None:
        raise not_found()
    return found


def _readable(asked: Asked, permission: str = "contents") -> Repository:
    """The repository, if the installation may read what it holds."""
    try:
        repo = _visible(asked, asked.world.repository(asked.number("id")))
    except NotThereError:
        raise not_found() from None
    if permission not in asked.seer().permissions and repo.visibility != "public":
        raise not_found()
    return repo


def permission(asked: Asked) -> Answer:
    repo = _named_repository(asked, f"/collaborators/{asked.params['user']}/permission")
    if not is_given(asked.seer(), repo):
        raise forbidden()
    user = _user(asked)
    access = asked.world.access(repo, user.id)
    body = {"permission": access.permission, "role_name": access.role_name, "user": payloads.account(user)}
    return Answer(200, body)


def members_by_id(asked: Asked) -> Answer:
    try:
        org = asked.world.account(asked.number("id"))
    except NotThereError:
        raise not_found() from None
    return _members(asked, org)


def members(asked: Asked) -> Answer:
    return _members(asked, _members_org(asked))


def _members(asked: Asked, org: Account) -> Answer:
    seer = asked.seer()
    if org.deleted or org.kind != "Organization":
        raise not_found()
    if seer.account_id != org.id or not seer.members_permission:
        raise forbidden()
    part, links = paged(asked.request, asked.world.members(org.id))
    return Answer(200, [payloads.account(user) for user in part], links)


def membership(asked: Asked) -> Answer:
    org = _members_org(asked)
    user = _user(asked)
    found = asked.world.membership(org.id, user.id)
    if found is None:
        raise not_found()
    return Answer(200, payloads.membership(found, user, org))


def account_by_id(asked: Asked) -> Answer:
    asked.seer()
    try:
        found = asked.world.account(asked.number("id"))
    except NotThereError:
        raise not_found() from None
    if found.deleted:
        raise not_found()
    return Answer(200, payloads.account(found))


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
    "GET /repos/{owner}/{repo}": repository_by_name,
    "GET /repos/{owner}/{repo}/collaborators/{user}/permission": permission,
    "GET /organizations/{id}/members": members_by_id,
    "GET /orgs/{org}/members": members,
    "GET /orgs/{org}/memberships/{user}": membership,
    "GET /user/{id}": account_by_id,
}
FOR_THE_APP = ("/app", "/app/")
"""The path, and how those begin, that take the App's JWT; all others take an installation's token."""


# What several of them have in common.


def _visible(asked: Asked, repo: Repository) -> Repository:
    if not asked.world.sees(asked.seer(), repo):
        raise not_found()
    if repo.blocked:
        raise RefusalError(451, "Repository access blocked")
    return repo


def _shown(asked: Asked, repo: Repository) -> Answer:
    return Answer(200, payloads.repository(repo, asked.world.account(repo.owner_id)))


def _named_repository(asked: Asked, rest: str = "") -> Repository:
    """By owner and name. An old name is answered with 301, if the installation may see what is behind it."""
    found = asked.world.repository_called(asked.params["owner"], asked.params["repo"])
    if found is None:
        raise not_found()
    repo, moved = found
    _visible(asked, repo)
    if moved:
        raise RefusalError(
            301, "Moved Permanently", {"location": f"{asked.request.base_url}/repositories/{repo.id}{rest}"}
        )
    return repo


def _older(deliveries: list[Delivery], last: int) -> list[Delivery]:
    """What follows the last one of the page before; GitHub may have sent more in between."""
    place = next((place for place, item in enumerate(deliveries) if item.id == last), None)
    return [] if place is None else deliveries[place + 1 :]


def _user(asked: Asked) -> Account:
    found = asked.world.account_called(asked.params["user"])
    if found is None:
        raise not_found()
    return found


def _members_org(asked: Asked) -> Account:
    """The organisation, if the installation may read its members."""
    found = asked.world.account_called(asked.params["org"])
    if found is None or found.kind != "Organization":
        raise not_found()
    seer = asked.seer()
    if seer.account_id != found.id or not seer.members_permission:
        raise forbidden()
    return found
