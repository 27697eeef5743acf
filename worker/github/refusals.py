"""What an answer other than a 2xx means."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import quote

from pydantic import ValidationError

from worker.github.answers import (
    BlockedError,
    CredentialsError,
    GitHubError,
    GoneError,
    LaterError,
    LimitedError,
    MovedError,
    NotOursError,
    SuspendedError,
    UninstalledError,
)
from worker.github.budget import APP, limited_until
from worker.github.models import MAX_ID, RefusalModel
from worker.github.wire import GitHubResponse

REGISTRATION = "/app"
HOOK = "/app/hook/config"
INSTALLATIONS = "/app/installations"
TOKENS = "/app/installations/{installation}/access_tokens"
ATTEMPTS = "/app/hook/deliveries/{delivery}/attempts"
MEMBERS = "/organizations/{organization}/members"
"""By id, as GitHub itself links to the pages of a list of members. A login may be somebody else's by now."""
MEMBERSHIP = "/orgs/{organization}/memberships/{login}"
CONTENTS = "/repositories/{repository}/contents"
"""By id, as GitHub itself redirects to it from a former name."""
WORKFLOWS = f"{CONTENTS}/.github/workflows"
WORKFLOW = f"{WORKFLOWS}/{{file}}"
ENVIRONMENTS = "/repositories/{repository}/environments"
ENVIRONMENT = f"{ENVIRONMENTS}/{{environment}}"
BRANCH_POLICIES = f"{ENVIRONMENT}/deployment-branch-policies"
BRANCHES = "/repositories/{repository}/branches"
BRANCH = f"{BRANCHES}/{{branch}}"
RULESETS = "/repositories/{repository}/rulesets"
RULESET = f"{RULESETS}/{{ruleset}}"
_FREE = frozenset({"file", "environment", "branch"})
"""Parts that somebody else named than GitHub: they may hold anything, and are quoted."""
_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}(\[bot\])?").fullmatch


class ApiRequest(NamedTuple):
    """What is asked: `route` is a template, `path` the same with everything put in.

    `installation` is who asks, `APP` for the App itself.
    """

    method: str
    route: str
    path: str
    installation: int
    params: Mapping[str, str]

    def __str__(self) -> str:
        page = f", page {self.params['page']}" if "page" in self.params else ""
        who = "the App" if self.installation == APP else f"installation {self.installation}"
        return f"{self.method} {self.path} ({who}{page})"

    @property
    def is_of_members(self) -> bool:
        return self.route in (MEMBERS, MEMBERSHIP)


def api_request(
    installation: int, method: str, route: str, params: Mapping[str, str] | None = None, /, **parts: int | str
) -> ApiRequest:
    """A question, with `parts` put into the route: integers, names of what may exist on GitHub, or what others named.

    Raises:
        GoneError: nothing on GitHub can have such a name, so nobody is asked.

    """
    for name, part in parts.items():
        if isinstance(part, str) and (part in (".", "..") or (name not in _FREE and _NAME(part) is None)):
            raise GoneError(f"{method} {route}: not asked, {name} is not a name that GitHub gives; correct it")
    path = route.format(**{name: quote(str(part), safe="") for name, part in parts.items()})
    return ApiRequest(method, route, path, installation, params or {})


def is_json(answer: GitHubResponse) -> bool:
    """Whether it says that it is JSON."""
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


def refusal(request: ApiRequest, answer: GitHubResponse, base: str, now: float) -> GitHubError | None:
    """The error that an answer is; None if it is a 2xx.

    A status counts as GitHub's word only if the body is GitHub's too: proxies and wrong addresses answer 403 and 404
    with pages of their own. A limit and a 401 are believed without: to wait, and to fetch a new token, does no harm.
    """
    status = answer.status
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return _redirect(request, answer, base)
    body = _body_of(answer)
    until = limited_until(status, answer.headers, body.message if body else "", now)
    if until is not None:
        return LimitedError(f"{request}: {status}, a limit of GitHub's; ask again at {until}", until)
    if status == HTTPStatus.UNAUTHORIZED:
        return _unauthorized(request)
    if body is None and status < 500:
        return LaterError(
            f"{request}: {status} without GitHub's JSON; something in between may have answered: check "
            "TENURE_GITHUB_API_URL, or ask again"
        )
    meaning = _MEANINGS.get(status)
    return (
        LaterError(f"{request}: {status}; ask again later")
        if body is None or meaning is None
        else meaning(request, body)
    )


def _body_of(answer: GitHubResponse) -> RefusalModel | None:
    """What the body of a refusal says; None if it is not GitHub's. No body says nothing, but is nobody's page either."""
    if not answer.body:
        return RefusalModel()
    try:
        return RefusalModel.model_validate_json(answer.body) if is_json(answer) else None
    except ValidationError:
        return None


def _redirect(request: ApiRequest, answer: GitHubResponse, base: str) -> GitHubError:
    if request.is_of_members and answer.status == HTTPStatus.FOUND:
        return NotOursError(f"{request}: we may not see members; grant the App the permission Members: read")
    match = re.fullmatch(re.escape(base) + r"/repositories/([0-9]{1,19})", answer.moved_to or "")
    repository_id = int(match[1]) if match else 0
    return MovedError(
        f"{request}: {answer.status}, a redirect, which is not followed; ask by id for what it is called now",
        repository_id if 0 < repository_id <= MAX_ID else None,
    )


def _unauthorized(request: ApiRequest) -> GitHubError:
    if request.installation == APP:
        return CredentialsError(
            f"{request}: 401, the App's signature is refused; check TENURE_GITHUB_APP_ID, the private key and this "
            "machine's clock"
        )
    return CredentialsError(
        f"{request}: 401, the token is refused; check that the App is still there and its key valid"
    )


def _forbidden(request: ApiRequest, body: RefusalModel) -> GitHubError:
    message = body.message.lower()
    if request.route == TOKENS or ("installation" in message and "suspended" in message):
        return SuspendedError(f"{request}: 403, the installation is suspended; its owner can unsuspend it")
    if body.block is not None or "access blocked" in message:
        return _blocked(request, body)
    return NotOursError(f"{request}: 403, the App may not ask this; grant it the permission, or leave it unasked")


def _not_found(request: ApiRequest, body: RefusalModel) -> GitHubError:
    if request.route == TOKENS and "integration" not in body.message.lower():
        return UninstalledError(f"{request}: 404, the App is not installed there any more; its owner can install it")
    if request.route in (REGISTRATION, TOKENS, INSTALLATIONS):
        return CredentialsError(
            f"{request}: 404, GitHub knows no such App; check TENURE_GITHUB_APP_ID and TENURE_GITHUB_API_URL"
        )
    return GoneError(f"{request}: 404, gone or not visible to the App; look again before believing it")


def _unprocessable(request: ApiRequest, _said: RefusalModel) -> GitHubError:
    if request.route == ATTEMPTS:
        return GoneError(f"{request}: 422, too old to be delivered again; have its owner checked instead")
    return LaterError(f"{request}: 422, not what this version of the API takes; ask again later")


def _blocked(request: ApiRequest, _said: RefusalModel) -> GitHubError:
    return BlockedError(f"{request}: blocked by GitHub; its owner has to take it up with GitHub")


_MEANINGS: Mapping[int, Callable[[ApiRequest, RefusalModel], GitHubError]] = {
    HTTPStatus.FORBIDDEN: _forbidden,
    HTTPStatus.NOT_FOUND: _not_found,
    HTTPStatus.UNPROCESSABLE_ENTITY: _unprocessable,
    HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS: _blocked,
}
