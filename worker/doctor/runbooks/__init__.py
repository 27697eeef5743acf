"""Runbooks: what to do about each alert, and about what the doctor finds. The console serves them."""

from __future__ import annotations

from importlib.resources import files

from worker.settings import Settings

_TEXTS = {
    path.name.removesuffix(".md"): path.read_text(encoding="utf-8")
    for path in files(__name__).iterdir()
    if path.name.endswith(".md")
}


def names() -> list[str]:
    """All there are."""
    return sorted(_TEXTS)


def read(name: str) -> str | None:
    """A runbook, in Markdown; None if there is none of this name."""
    return _TEXTS.get(name)


def address_of(settings: Settings, name: str) -> str:
    """Where it can be opened; empty for none."""
    if not name:
        return ""
    here = f"http://{settings.http_host}:{settings.http_port}"
    return f"{(settings.public_url or here).rstrip('/')}/console/runbooks/{name}"
