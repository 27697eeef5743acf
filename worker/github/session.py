"""How a question is asked: within the budget, with a token that is good, and read only if the answer fits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Generic, NamedTuple, TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from worker.github import models
from worker.github.answers import CredentialsError, GitHubError, LaterError, LimitedError
from worker.github.budget import APP, Budgets, budget_of
from worker.github.credentials import AppCredentials, InstallationToken, InstallationTokens
from worker.github.refusals import TOKENS, ApiRequest, api_request, is_json, refusal
from worker.github.wire import GitHubResponse, NoAnswerError, Timeouts, Wire

ReadT = TypeVar("ReadT")


class Answered(NamedTuple, Generic[ReadT]):
    """What was answered. `following`: the parameters of the next page, None if GitHub names none."""

    value: ReadT
    following: Mapping[str, str] | None


class ApiSession:
    """Asks in the name of the App and of its installations. `client.GitHub` says what the arguments are."""

    def __init__(
        self,
        *,
        api_url: str,
        app_id: str,
        private_key: Callable[[], str],
        clock: Callable[[], float],
        budgets: Budgets,
        transport: httpx.BaseTransport | None,
        on_call: Callable[[str, str], None] | None,
        until: Callable[[], float],
        timeouts: Timeouts,
    ) -> None:
        self._clock = clock
        self._budgets = budgets
        self._on_call = on_call
        self._until = until
        self._app = AppCredentials(app_id, private_key, clock)
        self._tokens = InstallationTokens(clock, patience=timeouts.total)
        self._wire = Wire(api_url, timeouts, transport)

    def close(self) -> None:
        self._wire.close()

    def as_app(self, request: ApiRequest, form: TypeAdapter[ReadT]) -> Answered[ReadT]:
        """Ask as the App itself."""
        return self._send(request, self._app.signature(), _reader(form), urgent=False)

    def order(self, request: ApiRequest) -> None:
        """Ask for something to be done, as the App itself. That it was accepted is all there is to know."""
        self._send(request, self._app.signature(), lambda _asked, _answer: None, urgent=False)

    def as_installation(self, request: ApiRequest, form: TypeAdapter[ReadT], *, urgent: bool) -> Answered[ReadT]:
        """Ask with the installation's token; once more with a new one if GitHub does not know it any more."""
        token = self._token(request.installation, urgent=urgent)
        try:
            return self._send(request, token.text, _reader(form), urgent=urgent)
        except CredentialsError:
            token = self._token(request.installation, urgent=urgent, refused=token)
        return self._send(request, token.text, _reader(form), urgent=urgent)

    def may(self, installation: int, permission: str, *, urgent: bool) -> bool:
        """Whether the installation's token has a permission, at least for reading."""
        return permission in self._token(installation, urgent=urgent).permissions

    def _token(self, installation: int, *, urgent: bool, refused: InstallationToken | None = None) -> InstallationToken:
        request = api_request(APP, "POST", TOKENS, installation=installation)

        def fetch() -> InstallationToken:
            made = self._send(
                request, self._app.signature(), _reader(models.TOKEN), urgent=urgent, on_behalf_of=installation
            ).value
            return InstallationToken(made.token, made.expires_at, models.granted(made.permissions))

        return self._tokens.get(installation, fetch, refused)

    def _send(
        self,
        request: ApiRequest,
        secret: str,
        read: Callable[[ApiRequest, GitHubResponse], ReadT],
        *,
        urgent: bool,
        on_behalf_of: int | None = None,
    ) -> Answered[ReadT]:
        """One request. A limit met `on_behalf_of` an installation holds up that one, and not the App."""
        delayed = request.installation if on_behalf_of is None else on_behalf_of
        for key in {request.installation, delayed}:
            retry_at = self._budgets.permit(key, self._clock(), urgent=urgent)
            if retry_at is not None:
                raise LimitedError(
                    f"{request}: not sent, the budget has no call left for it until {retry_at}", retry_at
                )
        until, outcome = self._until(), "error"
        try:
            answer = self._exchange(request, secret, until)
            self._account(request, answer, delayed)
            value = read(request, answer)
            outcome = "ok"
        except GitHubError as error:
            outcome = error.outcome
            raise
        finally:
            if self._on_call is not None:
                self._on_call(request.route, outcome)
        return Answered(value, answer.following)

    def _exchange(self, request: ApiRequest, secret: str, until: float) -> GitHubResponse:
        try:
            return self._wire.send(request.method, request.path, request.params, f"Bearer {secret}", until)
        except NoAnswerError as error:
            raise LaterError(f"{request}: {error}; ask again later") from None

    def _account(self, request: ApiRequest, answer: GitHubResponse, delayed: int) -> None:
        """Learn what the answer says of the budget, and raise what it is if it is no answer to the question."""
        now = self._clock()
        error = refusal(request, answer, self._wire.base, now)
        if isinstance(error, LimitedError):
            self._budgets.block(delayed, error.retry_at)
        elif answer.status != HTTPStatus.UNAUTHORIZED:  # Whoever is not known is told of the budget for strangers.
            self._budgets.learn(request.installation, budget_of(answer.headers, now))
        if error is not None:
            raise error


def _reader(form: TypeAdapter[ReadT]) -> Callable[[ApiRequest, GitHubResponse], ReadT]:
    """Reads an answer in this form.

    Raises:
        LaterError: it has another; the message names the field, and never its value.

    """

    def read(request: ApiRequest, answer: GitHubResponse) -> ReadT:
        if not is_json(answer):
            raise LaterError(
                f"{request}: {answer.status} that is not JSON; check TENURE_GITHUB_API_URL, or ask again later"
            )
        try:
            return form.validate_json(answer.body)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            field = ".".join(str(part) for part in first["loc"]) or "body"
            problem = f"{field}: {first['msg']}"
        raise LaterError(f"{request}: the answer does not fit: {problem}; ask again later")

    return read
