"""Logging in and out. A session is in the store, and a browser has nothing but its random name."""

from __future__ import annotations

import secrets
from functools import partial
from ipaddress import IPv6Address, ip_address, ip_network

from starlette.requests import Request
from starlette.responses import Response

from worker.console.session import LOGIN, Form, Frame, Visit, csrf_of, inside, problem_page, redirect, right_csrf
from worker.console.templating import PageContext, page
from worker.store.sessions import WINDOW_SECONDS, Session, TokenRole
from worker.web.access import PEOPLE
from worker.web.problems import ProblemError

PER_ADDRESS = 10
"""Attempts to log in from one address within five minutes; more are not looked at."""
OVERALL = 300
"""Wrong ones from all together; of more it is not said what is wrong with them. A right one is never among them."""
FORM_SECONDS = 3600
"""How long a login form is good for."""


class Login:
    """The way in, and out."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._form_cookie = f"{frame.cookie}-form"

    async def show(self, request: Request) -> Response:
        return self._form(request, 200, "")

    async def enter(self, request: Request) -> Response:
        """A token, or the code of a link, for a session."""
        try:
            form = await self._frame.form(request)
            return await self._frame.web.aside(partial(self._enter, request, form))
        except ProblemError as error:
            return problem_page(error, request)

    def leave(self, visit: Visit) -> Response:
        """End the session, in the store too."""
        self._frame.sessions.end(visit.secret)
        response = redirect(LOGIN)
        self._frame.set_cookie(response, self._frame.cookie, "", 0)
        return response

    def _enter(self, request: Request, form: Form) -> Response:
        mine = request.cookies.get(self._form_cookie, "")
        if not mine or not right_csrf(mine, form):
            return self._form(request, 403, "This form is too old, or cookies are off. Try again.", form)
        sessions, address = self._frame.sessions, f"from:{self._address(request)}"
        wait = sessions.attempt(address, PER_ADDRESS)
        if wait is not None:
            return self._limited(request, wait)
        session = self._session(form)
        if session is None:
            # Wrong ones alone: else anybody who has many addresses could keep the right ones out.
            wait = sessions.attempt("all", OVERALL)
            if wait is not None:
                return self._limited(request, wait)
            used = "This link was used already, or is too old. Log in with a token."
            return self._form(request, 401, used if form.get("code") else "Nobody has this token.", form)
        sessions.forgive(address)
        response = redirect(inside(form.get("next")))
        self._frame.set_cookie(response, self._frame.cookie, sessions.begin(session))
        self._frame.set_cookie(response, self._form_cookie, "", 0)
        return response

    def _session(self, form: Form) -> Session | None:
        code = form.get("code")
        if code:
            taken = self._frame.sessions.take_code(code)
            return Session("operator", TokenRole.OPERATOR, "") if taken else None
        identity = self._frame.tokens.who(form.get("token").strip(), PEOPLE)
        return identity and Session(*identity)

    def _address(self, request: Request) -> str:
        """Who tries: an address, or the network of one where everybody has many.

        Behind a trusted proxy, that is whom the proxy itself has seen.
        """
        peer = request.client.host if request.client else ""
        proxies = self._frame.web.app.settings.proxies
        try:
            address = ip_address(proxies.sender(peer, request.headers.getlist("x-forwarded-for")))
        except ValueError:
            return "unknown"
        return str(ip_network((address, 64), strict=False)) if isinstance(address, IPv6Address) else str(address)

    def _limited(self, request: Request, wait: int) -> Response:
        message = f"There were too many attempts within {WINDOW_SECONDS // 60} minutes. Wait for {wait} seconds."
        return problem_page(ProblemError(429, "attempts", message, headers={"Retry-After": str(wait)}), request)

    def _form(self, request: Request, status: int, wrong: str, form: Form | None = None) -> Response:
        mine = request.cookies.get(self._form_cookie) or secrets.token_urlsafe(32)
        where = form.get("next") if form else request.query_params.get("next", "")
        content = {"wrong": wrong, "next": inside(where), "anybody": self._frame.tokens.anybody(PEOPLE)}
        response = page("login.html", PageContext("", 0, None, csrf_of(mine)), content, status=status)
        self._frame.set_cookie(response, self._form_cookie, mine, FORM_SECONDS)
        return response
