"""Around every page of the console: who is there, whether they may, and an honest page when something is wrong."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from worker.app import App
from worker.console.templating import CONSOLE, PROTECTION, PageContext, page
from worker.lifecycle.facts import Micros
from worker.logs import logger
from worker.store.policies import UnreadableError
from worker.store.sessions import SESSION_SECONDS, Session, Sessions, TokenRole
from worker.web.access import BearerTokens
from worker.web.bodies import MIB, read_body, require_type
from worker.web.problems import ProblemError
from worker.web.threads import Web
from worker.words.text import sentence

LOGIN = f"{CONSOLE}/login"
MAX_FORM = MIB
MAX_FIELDS = 1_100
ACT_SECONDS = 35.0
"""How long an act may take, or a rehearsal: longer than they wait for a worker, or for a letter that ends its worker."""
FORM = "application/x-www-form-urlencoded"

log = logger("console")


class Form(NamedTuple):
    """What was sent with a form."""

    fields: Mapping[str, str]
    """The last of each name."""
    chosen: tuple[str, ...] = ()
    """Every value of the checkboxes, which are named `chosen`."""

    def get(self, name: str) -> str:
        return self.fields.get(name, "")


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of somebody who is logged in."""

    app: App
    path: str
    query: Mapping[str, str]
    form: Form
    session: Session
    secret: str = field(repr=False)
    now: Micros

    @property
    def context(self) -> PageContext:
        return PageContext(self.path, self.now, self.session, csrf_of(self.secret))

    def page(self, template: str, content: Mapping[str, object], *, status: int = 200) -> Response:
        return page(template, self.context, content, status=status)

    @property
    def acts(self) -> bool:
        """Whether they may act."""
        return self.session.role is TokenRole.OPERATOR

    @property
    def by(self) -> str:
        """Who acts, for the audit trail."""
        return f"{self.session.name}@console"


Handler = Callable[[Visit], Response]
Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Frame:
    """Makes endpoints of handlers. Handlers run beside the event loop, and may block."""

    web: Web
    tokens: BearerTokens
    sessions: Sessions
    secure: bool
    """Whether browsers come by TLS: then cookies go no other way."""
    cookie: str = field(init=False)

    def __post_init__(self) -> None:
        # A name with this prefix is only taken from this very host, with Path=/ and Secure.
        object.__setattr__(self, "cookie", "__Host-tenure" if self.secure else "tenure")

    @classmethod
    def of(cls, web: Web) -> Frame:
        settings = web.app.settings
        return cls(
            web,
            BearerTokens(web.rotation),
            Sessions(web.app.client),
            secure=(settings.public_url or "").startswith("https:"),
        )

    def reading(self, handle: Handler, seconds: float | None = None) -> Endpoint:
        """For everybody who is logged in. It may take so long, or else as long as any reading."""
        return self._endpoint(handle, TokenRole.READER, seconds)

    def acting(self, handle: Handler) -> Endpoint:
        """For operators."""
        return self._endpoint(handle, TokenRole.OPERATOR, ACT_SECONDS)

    def _endpoint(self, handle: Handler, role: TokenRole, seconds: float | None) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            try:
                form = await self.form(request) if request.method == "POST" else Form({})
                who = self.secret(request) or ""
                return await self.web.read(who, partial(self._answer, request, form, handle, role), seconds)
            except ProblemError as error:
                return problem_page(error, request)

        return endpoint

    def _answer(self, request: Request, form: Form, handle: Handler, role: TokenRole) -> Response:
        secret = self.secret(request)
        session = self.session(secret)
        if session is None or secret is None:
            return self._outside(request)
        try:
            _may(request, form, session, secret, role)
            query = {name: value.strip() for name, value in request.query_params.items() if value.strip()}
            now = self.web.app.status.now()
            return handle(Visit(self.web.app, request.url.path, query, form, session, secret, now))
        except (ProblemError, UnreadableError) as error:
            return problem_page(error, request, session, csrf_of(secret))

    def _outside(self, request: Request) -> Response:
        if self.secret(request) is None and request.headers.get("sec-fetch-site") == "cross-site":
            # The cookie does not come with a click on another site's link. The page itself may ask for it.
            return page("again.html", PageContext("", 0), {})
        if request.method != "GET":
            raise ProblemError(401, "session", "Your session has ended. Log in again; nothing was done.")
        where = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return redirect(LOGIN if where == "/" else f"{LOGIN}?{_next(where)}")

    # Cookies and forms

    def secret(self, request: Request) -> str | None:
        return request.cookies.get(self.cookie)

    def session(self, secret: str | None) -> Session | None:
        """Who is logged in, if their token is still one of ours.

        Raises:
            StoreError: the store cannot be reached.
        """
        session = self.sessions.find(secret) if secret else None
        if session is None or (session.key and not self.tokens.identities(session.key, session.role)):
            return None
        return session

    def set_cookie(self, response: Response, name: str, value: str, seconds: int = SESSION_SECONDS) -> None:
        response.set_cookie(
            name, value, max_age=seconds, path="/", secure=self.secure, httponly=True, samesite="strict"
        )

    async def form(self, request: Request) -> Form:
        """
        Raises:
            ProblemError: it is none, is too long, or comes from another site.
        """
        headers = dict(request.scope["headers"])
        if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
            raise ProblemError(403, "csrf", "This form comes from another site. Open the console and do it there.")
        require_type(headers, FORM)
        with self.web.room.share() as share:
            body = await read_body(headers, request.receive, share, limit=MAX_FORM)
        try:
            pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_FIELDS)
        except ValueError:
            raise ProblemError(400, "body", "This is no form that the console has sent.") from None
        return Form(dict(pairs), tuple(value for name, value in pairs if name == "chosen"))


def _may(request: Request, form: Form, session: Session, secret: str, role: TokenRole) -> None:
    """
    Raises:
        ProblemError: this form is not of this session, or the session's role is not enough (403).
    """
    if request.method == "POST" and not right_csrf(secret, form):
        raise ProblemError(403, "csrf", "This form is not from this session. Go back, reload the page, try again.")
    if role is TokenRole.OPERATOR and session.role is not TokenRole.OPERATOR:
        raise ProblemError(403, "role", "You may look, and not act. Log in with an operator's token to act.")


def csrf_of(secret: str) -> str:
    """What forms of a session carry: it follows from the cookie, and the cookie does not follow from it."""
    return hashlib.sha256(f"form:{secret}".encode()).hexdigest()


def right_csrf(secret: str, form: Form) -> bool:
    return hmac.compare_digest(csrf_of(secret).encode(), form.get("csrf").encode())


def redirect(where: str) -> Response:
    return RedirectResponse(where, 303, PROTECTION)


def _next(where: str) -> str:
    return urlencode({"next": where})


def inside(where: str) -> str:
    """An address of the console; the overview for anything else."""
    try:
        parts = urlsplit(where)
    except ValueError:
        return "/"
    plain = where.isascii() and where.isprintable() and "\\" not in where and not parts.scheme and not parts.netloc
    return where if plain and parts.path.startswith(f"{CONSOLE}/") and "//" not in parts.path else "/"


def problem_page(error: Exception, request: Request, session: Session | None = None, csrf: str = "") -> Response:
    """An error that says what to do, as a page; `error` is a ProblemError, or UnreadableError."""
    if not isinstance(error, ProblemError):
        error = ProblemError(500, "unreadable", sentence(str(error)))
    log.info("console", path=request.url.path, status=error.status, reason=error.kind)
    place = PageContext(request.url.path, time.time_ns() // 1000, session, csrf)
    again = request.method == "GET" and error.status in {500, 503}
    content = {"problem": error, "again": again}
    return page("problem.html", place, content, status=error.status, headers=error.headers)
