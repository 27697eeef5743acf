"""The forms of values that several settings have."""

from __future__ import annotations

import json
import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr


def _ascii(values: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    if not all(value.get_secret_value().isascii() for value in values):
        msg = "has characters outside ASCII; make another one with `openssl rand -hex 32`"
        raise ValueError(msg)
    return values


_NAMED = re.compile(r"(?:([A-Za-z][A-Za-z0-9._-]{0,31}):)?(.*)", re.DOTALL)


def named(value: SecretStr) -> tuple[str, str]:
    """`maria:TOKEN` → name and token; the name is empty where there is none, and the token where only a name is."""
    match = _NAMED.fullmatch(value.get_secret_value())
    return (match[1] or "", match[2]) if match else ("", value.get_secret_value())


class Unsplit(SecretStr):
    """A line that holds commas, as the one secret that it may be."""


def _listed(value: object) -> object:
    """`["new", "old"]`, `new,old`, or a line each → both.

    A line with commas is a list, and also one secret with commas in it: whoever knows the line knows all of its parts.
    """
    if not isinstance(value, str):
        return value
    if value.strip() == "[]" or value.lstrip().startswith('["'):
        return _as_json(value)
    lines = [line.strip() for line in value.split("\n")]
    parts = [[part.strip() for part in line.split(",") if part.strip()] for line in lines]
    whole = [
        Unsplit(line)
        for line, name in zip(lines, parts, strict=True)
        # Names without tokens, as of variables that are not set, make nothing that nobody could guess.
        if name != [line] and any(named(SecretStr(part))[1] for part in name)
    ]
    return [*(part for name in parts for part in name), *whole]


def _as_json(value: str) -> list[str]:
    try:
        parsed: object = json.loads(value)
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, list) or not all(isinstance(part, str) for part in parsed):
        msg = 'begins like a JSON list of texts, and is none; write ["new", "old"], or new,old'
        raise ValueError(msg)
    return [part for part in parsed if part.strip()]


SecretList = Annotated[tuple[SecretStr, ...], BeforeValidator(_listed), AfterValidator(_ascii)]


def rsa_key(value: SecretStr) -> SecretStr:
    """
    Raises:
        ValueError: it cannot sign for a GitHub App.
    """
    from worker.github.credentials import check_private_key  # noqa: PLC0415 - few commands have a key to check

    check_private_key(value.get_secret_value())
    return value


def api_address(value: str) -> str:
    """
    Raises:
        ValueError: it is no address of an API.
    """
    if not _is_api(value):
        msg = "is like https://api.github.com, or https://host/api/v3 for GitHub Enterprise Server"
        raise ValueError(msg)
    return value.rstrip("/")


def _is_api(url: str) -> bool:
    """Whether this is the address of an API: no credentials, no query."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    plain = "@" not in parts.netloc and not parts.query and not parts.fragment and port != 0
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and plain
