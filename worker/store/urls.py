"""Whether the URL of a store or a broker means what it says."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from redis import ConnectionPool, RedisError
from redis.connection import parse_url

SCHEMES = frozenset({"redis", "rediss", "unix"})
ENCODE = (
    "percent-encode special characters of its user name and password: @ as %40, # as %23, / as %2F, ? as %3F, "
    ": as %3A, % as %25"
)
FORM = "is like redis://:password@host:6379/0, the last part being the number of a database"


def flaw(url: str) -> str | None:
    """What is wrong with a URL, and what to do, without a word of it; None if clients read it as it was meant.

    A raw `#`, `/` or `?` ends the host of a URL (RFC 3986, 3.2: https://www.rfc-editor.org/rfc/rfc3986#section-3.2). In a
    password it leaves another host, or another port, to which clients would connect without a word.
    """
    if any(character < " " or character == "\x7f" for character in url):
        # urlsplit drops some of these silently.
        return f"holds a line break or another control character; give one URL in one line, and {ENCODE}"
    if url.partition("://")[0].lower() not in SCHEMES:
        return "begins with redis://, rediss:// or unix://"
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - asking is what raises
    except ValueError:
        # Its message quotes the URL.
        return f"is no URL that can be read; {ENCODE}"
    if _ends_early(parts):
        return f"has a raw special character; {ENCODE}"
    if _usable(url):
        return None
    return f"{FORM}; {ENCODE}"


def _ends_early(parts: SplitResult) -> bool:
    """Whether a raw character of the password was taken for the end of the host: then what follows holds the `@`."""
    if parts.fragment:
        return True
    if any("@" in option and "=" not in option for option in parts.query.split("&")):
        return True
    # Only the path of a socket may hold one.
    socket = parts.scheme == "unix" and (not parts.netloc or "@" in parts.netloc)
    return "@" in parts.path and not socket


def _usable(url: str) -> bool:
    """Whether redis-py can make a connection of it, to a database that is named by a number."""
    path = urlsplit(url).path
    try:
        made = parse_url(url)  # type: ignore[no-untyped-call]
        ConnectionPool.from_url(url).make_connection()
    except (ValueError, TypeError, RedisError):
        return False
    return "path" in made or path in ("", "/") or "db" in made
