"""Where a store's keys are: on one server, at the primary that Sentinels name, or on the nodes of a cluster. No I/O."""

from __future__ import annotations

import binascii
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias, cast
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

SLOTS = 16_384
"""Of a cluster: https://valkey.io/topics/cluster-spec/"""
PORT = 6379
MOST_HOSTS = 100
NO_HOST = "the address of the store names a host that is none: write host:port,host:port"
PRIMARY = "primary"
"""Option of an address: which primary is meant, of several that the Sentinels watch over."""
SENTINEL_USERNAME, SENTINEL_PASSWORD = "sentinel_username", "sentinel_password"
"""Options: who the reader is to the Sentinels."""
OWN = (PRIMARY, SENTINEL_USERNAME, SENTINEL_PASSWORD)

Kind: TypeAlias = Literal["server", "sentinel", "cluster"]


class Address(NamedTuple):
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class StoreUrl:
    """Where a store is, as its user wrote it: `redis://user:password@host:port,host:port/0?option=value`."""

    addresses: tuple[Address, ...]
    """None: a socket of this machine."""
    primary: str | None
    _scheme: str
    _user: str
    _sentinel_user: str
    _after: str

    @classmethod
    def read(cls, url: str) -> StoreUrl:
        """`redis://`, `rediss://` or `unix://`.

        Raises:
            ValueError: it is none of these. The message quotes nothing of it.
        """
        scheme, sep, rest = url.partition("://")
        if not sep or scheme.lower() not in ("redis", "rediss", "unix"):
            raise ValueError("the address of the store must begin with redis://, rediss:// or unix://")
        if scheme.lower() == "unix":
            return cls((), None, scheme, "", "", rest)
        try:
            parts = urlsplit(url)
        except ValueError:
            raise ValueError(NO_HOST) from None
        if parts.fragment or "@" in parts.path:
            raise ValueError("the address of the store has a raw # or / before its hosts: write %23, and %2F")
        user, at, hosts = parts.netloc.rpartition("@")
        options = parse_qsl(parts.query, keep_blank_values=True)
        own = {name: value for name, value in options if name in OWN}
        query = urlencode([(name, value) for name, value in options if name not in OWN])
        addresses = tuple(dict.fromkeys(map(_address, hosts.split(","))))
        if len(addresses) > MOST_HOSTS:
            raise ValueError(f"the address of the store names more than {MOST_HOSTS} hosts")
        return cls(
            addresses, own.get(PRIMARY), scheme.lower(), f"{user}{at}",
            _credentials(own.get(SENTINEL_USERNAME, ""), own.get(SENTINEL_PASSWORD, "")),
            f"{parts.path}{'?' if query else ''}{query}",
        )  # fmt: skip

    def at(self, address: Address | None) -> str:
        """The same with one host."""
        return f"{self._scheme}://{self._user}{address or ''}{self._after}"

    def at_sentinel(self, address: Address) -> str:
        """The same as who the reader is to Sentinels: nobody, unless they know it."""
        # Sentinels have no databases to choose from.
        return f"{self._scheme}://{self._sentinel_user}{address}/0{self._after[self._after.find('?') :] if '?' in self._after else ''}"


def _credentials(user: str, password: str) -> str:
    return f"{quote(user, safe='')}:{quote(password, safe='')}@" if user or password else ""


def _address(host: str) -> Address:
    """
    Raises:
        ValueError: it is none.
    """
    try:
        parts = urlsplit(f"//{host}")
        return Address(parts.hostname or "localhost", parts.port or PORT)
    except ValueError:
        raise ValueError(NO_HOST) from None


class UncoveredError(Exception):
    """No node has the slot now."""


@dataclass(frozen=True)
class NodeMap:
    """Who has which keys."""

    kind: Kind
    primaries: tuple[Address, ...]
    others: tuple[Address, ...] = ()
    """Replicas of a cluster, and Sentinels: they know who the primaries are, too."""
    _starts: tuple[int, ...] = field(default=(0,))
    _ranges: tuple[tuple[int, Address], ...] = ()
    """The last slot and the primary of each range, in order; their first slots are `_starts`."""

    def primary(self, slot: int) -> Address:
        """
        Raises:
            UncoveredError: no node has the slot now.
        """
        if self.kind != "cluster":
            return self.primaries[0]
        at = bisect_right(self._starts, slot) - 1
        if at < 0 or slot > self._ranges[at][0]:
            raise UncoveredError(f"no node of the cluster has slot {slot}")
        return self._ranges[at][1]

    def has(self, slot: int, address: Address) -> bool:
        """Whether that node has it."""
        try:
            return self.primary(slot) == address
        except UncoveredError:
            return False

    @property
    def everybody(self) -> tuple[Address, ...]:
        """Who can tell of it."""
        return self.others if self.kind == "sentinel" else (*self.primaries, *self.others)


def one_server(address: Address) -> NodeMap:
    return NodeMap("server", (address,))


def cluster_of(reply: object, asked: Address) -> NodeMap:
    """What `CLUSTER SLOTS` answered: `[first, last, [host, port, …], replicas…]` for each range. A node that does not know its
    own host leaves it out, and means the one at which it was asked: https://valkey.io/commands/cluster-slots/
    """
    ranges: list[tuple[int, int, Address]] = []
    others: dict[Address, None] = {}
    for first, last, primary, *replicas in cast(
        "Sequence[tuple[int, int, Sequence[object], *tuple[object, ...]]]", reply
    ):
        ranges.append((int(first), int(last), _node(primary, asked)))
        others |= dict.fromkeys(_node(cast("Sequence[object]", replica), asked) for replica in replicas)
    ranges.sort()
    primaries = tuple(dict.fromkeys(primary for _, _, primary in ranges))
    return NodeMap(
        "cluster", primaries, tuple(other for other in others if other not in primaries),
        tuple(first for first, _, _ in ranges), tuple((last, primary) for _, last, primary in ranges),
    )  # fmt: skip


def _node(words: Sequence[object], asked: Address) -> Address:
    host = text_of(words[0] or b"")
    return Address(asked.host if host in ("", "?") else host, int(cast("int", words[1])))


def watched_by(reply: object, primary: str | None, sentinels: Iterable[Address]) -> NodeMap:
    """What `SENTINEL MASTERS` answered.

    Raises:
        ValueError: it is not clear which primary is meant, or the Sentinel takes it for lost.
    """
    found = {}
    for raw in cast("Sequence[object]", reply):
        said = raw if isinstance(raw, Mapping) else dict(zip(*[iter(cast("Sequence[object]", raw))] * 2, strict=True))
        words = {text_of(name): text_of(value) for name, value in said.items()}
        found[words["name"]] = words
    if primary is None and len(found) != 1:
        raise ValueError(
            f"the Sentinels watch {len(found)} primaries: name one, as in redis://host:port/0?{PRIMARY}=NAME"
        )
    words = found.get(primary or next(iter(found)), {})
    flags = words.get("flags", "unknown").split(",")
    if "master" not in flags or not {"s_down", "o_down", "failover_in_progress"}.isdisjoint(flags):
        raise ValueError(f"the Sentinels know no primary that works: {','.join(flags)}")
    return NodeMap("sentinel", (Address(words["ip"], int(words["port"])),), tuple(sentinels))


def kind_of(info: object) -> Kind:
    """What `INFO server` says of who answers. Valkey 9 calls it `server_mode`."""
    said = cast("Mapping[str, object]", info)
    mode = str(said.get("redis_mode", said.get("server_mode", "")))
    return cast("Kind", mode) if mode in ("sentinel", "cluster") else "server"


def slot_of(key: str) -> int:
    """The slot of a key: the CRC16 of what is between its first braces, if there is something, else of all of it."""
    _, brace, rest = key.partition("{")
    tag, end, _ = rest.partition("}")
    return binascii.crc_hqx((tag if brace and end and tag else key).encode(), 0) % SLOTS


def text_of(raw: object) -> str:
    """A word of a reply."""
    return raw.decode() if isinstance(raw, bytes) else str(raw)
