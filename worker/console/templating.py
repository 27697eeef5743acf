"""Pages from templates. Everything is escaped, and what would hide or reorder text is made visible."""

from __future__ import annotations

import hashlib
import json
import mimetypes
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import NamedTuple
from urllib.parse import urlencode

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse, Response

from worker.lifecycle.facts import Micros
from worker.lifecycle.views import rfc3339
from worker.store.sessions import Session
from worker.words.text import clean, micros, span

HERE = files("worker.console")

_SOURCES = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "connect-src": "'self'",
    "img-src": "'self' data:",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
}
POLICY = "; ".join(f"{what} {source}" for what, source in _SOURCES.items())
"""Nothing is loaded from another host, and nothing that stands in a page is run or styled."""
PROTECTION = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

CONSOLE = "/console"
NAVIGATION = (
    ("/", "Overview", "o"),
    (f"{CONSOLE}/policies", "Policies", "p"),
    (f"{CONSOLE}/holds", "Holds", "h"),
    (f"{CONSOLE}/letters", "Dead letters", "d"),
    (f"{CONSOLE}/changes", "Live", "l"),
    (f"{CONSOLE}/evaluate", "Evaluate", "e"),
    (f"{CONSOLE}/audit", "Audit", "a"),
)
"""Address, name, and the key that leads there after `g`."""


class Asset(NamedTuple):
    content: bytes
    media_type: str


def _assets() -> dict[str, Asset]:
    assets = {path.name: path.read_bytes() for path in HERE.joinpath("static").iterdir()}
    return {
        name: Asset(content, mimetypes.guess_type(name)[0] or "application/octet-stream")
        for name, content in assets.items()
    }


ASSETS = _assets()
VERSION = hashlib.sha256(b"".join(ASSETS[name].content for name in sorted(ASSETS))).hexdigest()[:16]


def asset(name: str) -> str:
    """The address of a static file. It changes with the content, so browsers may keep what they have."""
    assert name in ASSETS
    return f"{CONSOLE}/static/{VERSION}/{name}"


def serve(version: str, name: str) -> Response | None:
    """A static file; None if there is no such file, or it is of another version: that must not be kept as this one."""
    asset = ASSETS.get(name) if version == VERSION else None
    if asset is None:
        return None
    headers = {"Cache-Control": "public, max-age=31536000, immutable", **PROTECTION}
    return Response(asset.content, 200, headers, asset.media_type)


# What templates may use


def _finalized(value: object) -> object:
    """Whatever a template shows, once: text as text. `Markup` was made here, from text that is."""
    return value if isinstance(value, Markup) else clean(value)


def exact(value: object) -> Markup:
    """A text that a form sends back: every character of it stays."""
    return escape(str(value))


def lines(value: object) -> Markup:
    """A text of several lines, each cleaned."""
    return Markup("\n").join(escape(clean(line)) for line in str(value).split("\n"))


def code(value: object) -> Markup:
    """A text whose `code` stands between backticks."""
    parts = str(value).split("`")
    marked = (
        Markup("<code>{}</code>").format(clean(part)) if i % 2 and i < len(parts) - 1 else escape(clean(part))
        for i, part in enumerate(parts)
    )
    return Markup("").join(marked)


def pretty(value: object) -> Markup:
    """A value as JSON over several lines."""
    return lines(json.dumps(value, indent=2, ensure_ascii=False))


_RUNBOOKS = MarkdownIt("commonmark", {"html": False})
_LINK = re.compile(r'<a href="([^"]*)">(.*?)</a>', re.DOTALL)


def runbook(written: str) -> Markup:
    """A runbook as HTML. Its links to others lead there; those to documents beside them are text, since none is here."""

    def led(found: re.Match[str]) -> str:
        name = found[1].removesuffix(".md")
        return f'<a href="{CONSOLE}/runbooks/{name}">{found[2]}</a>' if "/" not in name else found[2]

    return Markup(_LINK.sub(led, _RUNBOOKS.render(written)))  # noqa: S704 - written by us, and without HTML


def number(value: float) -> str:
    """`12,345`, `1.2`, `0.03`: as many digits as say something."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 1 else f"{value:.2g}"


def total(counters: Mapping[str, int], prefix: str) -> int:
    """The sum of the counters whose names begin so."""
    return sum(count for name, count in counters.items() if name.startswith(prefix))


def link(path: str, **query: object) -> str:
    """An address with these parameters; those that are None or empty are left out."""
    parameters = {name: value for name, value in query.items() if value not in (None, "")}
    return f"{path}?{urlencode(parameters)}" if parameters else path


NOTHING = Markup("&ndash;")


def _moment(at: Micros | str | None) -> Micros | None:
    return micros(at) if isinstance(at, str) else at


def ago(at: Micros | str | None, now: Micros) -> Markup:
    """`3 h ago`, with the moment itself for whoever wants it."""
    moment = _moment(at)
    if moment is None:
        return NOTHING
    text = f"{span(now - moment)} ago" if moment <= now else f"in {span(moment - now)}"
    return Markup('<time datetime="{0}" title="{0}">{1}</time>').format(rfc3339(moment), text)


def at(moment: Micros | str | None) -> Markup:
    """`2026-01-31 12:00:00`, in UTC."""
    text = _moment(moment)
    if text is None:
        return NOTHING
    written = rfc3339(text)
    return Markup('<time datetime="{0}" title="{0}">{1}</time>').format(written, written[:19].replace("T", " "))


def _source(name: str) -> str:
    return HERE.joinpath("templates", name).read_text(encoding="utf-8")


def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_source),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals.update(asset=asset, link=link, navigation=NAVIGATION, console=CONSOLE)
    environment.filters.update(
        code=code, exact=exact, lines=lines, pretty=pretty, number=number, span=span, total=total
    )
    return environment


_ENVIRONMENT = _environment()


@dataclass(frozen=True, slots=True)
class PageContext:
    """Where a page is, and who looks at it."""

    path: str
    """For the navigation."""
    now: Micros
    """What ages are told by."""
    session: Session | None = None
    csrf: str = ""
    """What its forms send back."""

    @property
    def section(self) -> str:
        """The address in the navigation that it belongs to."""
        begin = {f"{CONSOLE}/policy": f"{CONSOLE}/policies", f"{CONSOLE}/replay": f"{CONSOLE}/letters"}
        sections = [
            where for where, _, _ in NAVIGATION if where != "/" and self.path.startswith(where.removesuffix("s"))
        ]
        return begin.get(self.path) or (sections[0] if sections else self.path)


def page(
    template: str,
    place: PageContext,
    content: Mapping[str, object],
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A whole page."""
    html = _ENVIRONMENT.get_template(template).render(
        path=place.path,
        section=place.section,
        session=place.session,
        csrf=place.csrf,
        now=place.now,
        ago=lambda moment: ago(moment, place.now),
        at=at,
        **content,
    )
    return HTMLResponse(html, status, {**PROTECTION, **(headers or {})})
