"""What the URL of a store or a broker says, and whether it means what it says.

    redis://user:password@host:6379,host:6379/0?option=value

All hosts are asked alike: what answers at one of them, a server, a Sentinel or a node of a cluster, leads to the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from redis import ConnectionPool, RedisError
from redis.connection import parse_url

SCHEMES = frozenset({"redis", "rediss", "unix"})
ENCODE = (
    "percent-encode special characters of its user name and password: @ as %40, # as %23, / as %2F, ? as %3F, "
    ": as %3A, % as %25"
)
FORM = (
    "is like redis://:password@host:6379/0, the last part being the number of a database; several hosts are separated "
    "by commas"
)

PRIMARY: Final = "primary"
"""Option: the name of the primary, for Sentinels that watch over several."""
SENTINEL_USERNAME: Final = "sentinel_username"
SENTINEL_PASSWORD: Final = "sentinel_password"  # noqa: S105 - an option's name
"""Options: who we are to the Sentinels, where that is not who we are to the server."""
OWN = (PRIMARY, SENTINEL_USERNAME, SENTINEL_PASSWORD)
POOL = ("max_connections", "timeout")
"""Options of redis-py that say nothing of a connection."""


Options: TypeAlias = Mapping[str, Any]
"""Arguments of redis-py's connections: credentials, certificates, the database, time limits."""


class Host(NamedTuple):
    """Where a server listens."""

    name: str
    port: int

    def __str__(self) -> str:
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"


class Location(NamedTuple):
    """What a URL says."""

    hosts: tuple[Host, ...]
    """None if it names a socket of this machine."""
    tls: bool
    socket: str | None
    options: Options
    primary: str | None
    """What Sentinels call the primary, if they watch over several."""
    sentinel: Options
    """Those that are others for Sentinels."""

    @property
    def database(self) -> int:
        return int(self.options.get("db", 0))

    def meets(self, other: Location) -> bool:
        """Whether both name the same database of a server."""
        places = {*self.hosts, self.socket} & {*other.hosts, other.socket} - {None}
        return bool(places) and self.database == other.database


def locate(url: str) -> Location:
    """Read a URL that has no `flaw`.

    Raises:
        ValueError: it has one.
    """
    scheme, hosts, _, (user, rest) = _parts(url)
    query = dict(parse_qsl(urlsplit(f"{scheme}://{user}{hosts[0]}{rest}").query))
    found = [parse_url(_without_own(f"{scheme}://{user}{host}{rest}")) for host in hosts]  # type: ignore[no-untyped-call]
    left_out = {"host", "port", "path", "connection_class", *POOL}
    sentinel = {"username": query.get(SENTINEL_USERNAME), "password": query.get(SENTINEL_PASSWORD)}
    socket = scheme == "unix"
    return Location(
        hosts=() if socket else tuple(Host(each.get("host", "localhost"), each.get("port", 6379)) for each in found),
        tls=scheme == "rediss",
        socket=found[0].get("path", "") if socket else None,
        options={name: value for name, value in found[0].items() if name not in left_out},
        primary=query.get(PRIMARY),
        sentinel=sentinel if any(sentinel.values()) else {},
    )


class _Parts(NamedTuple):
    scheme: str
    hosts: list[str]
    authority: str
    around: tuple[str, str]
    """What stands before the hosts, with its `@`, and what stands after them."""


def _parts(url: str) -> _Parts:
    """Where the hosts of a URL are: a URL has one, by RFC 3986, so it is none before it is taken apart."""
    scheme, _, rest = url.partition("://")
    end = min((place for mark in "/?#" if (place := rest.find(mark)) >= 0), default=len(rest))
    authority, after = rest[:end], rest[end:]
    user, at, hosts = authority.rpartition("@")
    return _Parts(scheme.lower(), hosts.split(","), authority, (f"{user}{at}", after))


def _without_own(url: str) -> str:
    """The URL without the options that redis-py does not know."""
    head, mark, query = url.partition("?")
    left = [(name, value) for name, value in parse_qsl(query, keep_blank_values=True) if name not in OWN]
    return f"{head}{mark}{urlencode(left)}" if left else head


def flaw(url: str) -> str | None:
    """What is wrong with a URL, and what to do, without a word of it; None if clients read it as it was meant.

    A raw `#`, `/` or `?` ends the host of a URL (RFC 3986, 3.2: https://www.rfc-editor.org/rfc/rfc3986#section-3.2). In a
    password it leaves another host, or another port, to which clients would connect without a word.
    """
    if any(character < " " or character == "\x7f" for character in url):
        # urlsplit drops some of these silently.
        return f"holds a line break or another control character; give one URL in one line, and {ENCODE}"
    scheme, hosts, _, (user, rest) = _parts(url)
    if "://" not in url or scheme not in SCHEMES:
        return "begins with redis://, rediss:// or unix://"
    if len(hosts) > 1 and not all(hosts):
        return f"names no host between two commas; it {FORM}"
    return next((found for host in hosts if (found := _flaw(f"{scheme}://{user}{host}{rest}"))), None)


def _flaw(url: str) -> str | None:
    """The same, of a URL with one host."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - asking is what raises
    except ValueError:
        # Its message quotes the URL.
        return f"is no URL that can be read; {ENCODE}"
    if _ends_early(parts):
        return f"has a raw special character; {ENCODE}"
    if _usable(_without_own(url)):
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
