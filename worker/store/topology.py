"""Which servers keep the store, and connections to them: one server, the primary behind Sentinels, or a cluster's primaries.

What answers at the URL is asked what it is. A cluster's clients and Sentinel's follow what they are told:
https://valkey.io/topics/cluster-spec/ and https://valkey.io/topics/sentinel-clients/
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple, Protocol, TypeAlias, cast

import hiredis
from redis import Redis, RedisCluster
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.cluster import ClusterNode
from redis.connection import Connection, ConnectionPool, SSLConnection, UnixDomainSocketConnection
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterDownError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from worker.store.urls import PRIMARY, Host, Options, locate

Argument: TypeAlias = str | bytes | int
Words: TypeAlias = Sequence[Argument]
Reply: TypeAlias = object

SOCKET_TIMEOUT = 20.0
"""Seconds. A store that saves, rewrites its log or swaps can stall for some; giving up early only adds to its load."""
CONNECT_TIMEOUT = 5.0
PAUSES = (0.05, 0.1, 0.2)
"""Seconds before what could not be done is tried again: a broken connection, a slot that is on its way."""
LOOK_SECONDS = 1.0
"""How often those who wait for a reply look whether another node has taken over meanwhile."""
SILENT_SECONDS = 3.0
"""After this long without a reply a node of a cluster is silent: nobody else waits for it until it answers again, or
another has taken over. One server is waited for: there is no other to go on with."""
PROBE_SECONDS = 0.25
"""How often a node that is silent is asked whether it is back."""
ASK_SECONDS = 2.0
"""How long a node, or a Sentinel, may take to say who is where: there are others to ask."""
SLOTS: Final = 16384


class Engine(StrEnum):
    """What keeps the store."""

    SERVER = "server"
    SENTINEL = "Sentinel"
    CLUSTER = "cluster"


class SilentError(RedisConnectionError):
    """A node of a cluster has not answered for some time, and is not asked before it does."""


class StaleError(RedisConnectionError):
    """A connection had broken while nobody used it."""


class Transaction(NamedTuple):
    """Commands that a node runs with nobody's in between."""

    commands: Sequence[Words]
    asking: bool = False
    """Whether they are run on the node to which their slot is moving."""


class Exchange(Protocol):
    """One round trip with a node, on a connection that is closed if it fails."""

    def send(self, transactions: Sequence[Transaction], replicas: int, replicas_ms: int) -> None:
        """`replicas`: ask also how many replicas, at least so many, have what was written, for so long at most."""

    def receive(self) -> tuple[list[list[Reply]], int | ResponseError]:
        """The replies to each transaction, one for each command, an error where it was refused; and how many replicas, or why that
        is not told: a server that is a replica itself now has none.
        """


class Node(Protocol):
    """A server that owns slots."""

    @property
    def name(self) -> str:
        """How people know it: host and port, or the path of its socket."""

    def exchange(self) -> Exchange:
        """
        Raises:
            SilentError: this node is not asked now.
        """

    def admits(self) -> bool:
        """Whether it answers anybody, without a name and a password.

        Raises:
            RedisError: it cannot be reached.
        """


class Topology(Protocol):
    """Which node owns which slot. Every method may raise RedisError."""

    pauses: Sequence[float]
    """Before each further attempt, in seconds."""
    moves: int
    """How often something was found to have moved."""

    @property
    def engine(self) -> Engine: ...

    @property
    def version(self) -> int:
        """Another whenever it was looked at."""

    def owner(self, slot: int) -> Node: ...

    def primaries(self) -> Sequence[Node]: ...

    def node(self, name: str) -> Node:
        """A node that a redirection names."""

    def moved(self, slot: int, name: str) -> None:
        """A node says that another one owns a slot."""

    def look(self, seen: int) -> None:
        """Find out who owns what, unless somebody has since version `seen`."""

    def lost(self, node: Node) -> None:
        """A node could not be reached, and nobody tries again."""

    def redis(self) -> Redis:
        """redis-py's client, for what is no round trip of ours."""

    def following(self, slot: int) -> Redis:
        """redis-py's client of whatever node owns a slot: it looks for it whenever it connects."""

    def close(self) -> None: ...


def slot_of(key: str | bytes) -> int:
    """The slot of a key: of what is between its first braces, if there is something."""
    return int(key_slot(key.encode() if isinstance(key, str) else key))


class _Layout(NamedTuple):
    """What was found."""

    engine: Engine
    owners: Sequence[_Server | None]
    """By slot; of one server, just that."""
    primaries: Sequence[_Server]
    others: Sequence[Host]
    """Replicas or Sentinels, who may know more."""


class _Server:
    """A node, and the connections to it that nobody uses now."""

    def __init__(self, place: Host | str, options: Options, *, tls: bool, servers: Servers) -> None:
        self._place = place
        self._options = options
        self._tls = tls
        self._servers = servers
        self._idle: list[Connection] = []
        self._pid = os.getpid()
        self.late = False
        """Whether somebody waits for it: others are asked first who owns what."""
        self.silent = False
        self.doubtful = False
        """Whether a connection broke, so that another may have taken over meanwhile."""

    @property
    def name(self) -> str:
        return str(self._place)

    @property
    def host(self) -> Host | None:
        return self._place if isinstance(self._place, Host) else None

    def connection(self, **options: object) -> Connection:
        """A new one."""
        return _connection(self._place, {**self._options, **options}, tls=self._tls)

    def exchange(self) -> _RoundTrip:
        if self.silent:
            raise SilentError(f"{self.name} does not answer")
        if self._pid != os.getpid():
            # A connection that two processes write to is of use to neither.
            self._idle, self._pid = [], os.getpid()
        try:
            return _RoundTrip(self._idle.pop(), self, self._servers)
        except IndexError:
            if self.doubtful:
                self._servers.confirm(self)
            return _RoundTrip(self.connection(), self, self._servers)

    def admits(self) -> bool:
        nobody = {"username": None, "password": None, "credential_provider": None}
        try:
            with _opened(self.connection(**nobody, **_limits(ASK_SECONDS))) as connection:
                _ask(connection, "PING")
        except (ResponseError, AuthenticationError):
            return False
        return True

    def keep(self, connection: Connection) -> None:
        """It can be used again."""
        self._idle.append(connection)
        self.late = False

    def forget(self) -> None:
        """Close what nobody uses: after one connection broke, the others are broken, too."""
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.disconnect()  # type: ignore[no-untyped-call]


class _RoundTrip:
    """One round trip on a connection."""

    def __init__(self, connection: Connection, server: _Server, servers: Servers) -> None:
        self._connection = connection
        self._server = server
        self._servers = servers
        self._used = connection.is_connected
        self._sent: Sequence[Transaction] = ()
        self._replicas = 0

    def send(self, transactions: Sequence[Transaction], replicas: int, replicas_ms: int) -> None:
        packed: list[bytes] = []
        for commands, asking in transactions:
            if asking:
                packed.append(_ASKING)
            if len(commands) > 1:
                packed.append(_MULTI)
            packed += [_packed(*words) for words in commands]
            if len(commands) > 1:
                packed.append(_EXEC)
        if replicas:
            packed.append(_packed("WAIT", replicas, replicas_ms))
        self._sent, self._replicas = transactions, replicas
        try:
            self._connection.send_packed_command([b"".join(packed)], check_health=False)  # type: ignore[no-untyped-call]
        except RedisConnectionError as error:
            raise self._broken(error) from None

    def receive(self) -> tuple[list[list[Reply]], int | ResponseError]:
        try:
            replies = [self._transaction(transaction) for transaction in self._sent]
            waited = self._read() if self._replicas else 0
        except RedisConnectionError as error:
            raise self._broken(error) from None
        self._server.keep(self._connection)
        return replies, cast("int | ResponseError", waited)

    def _broken(self, error: RedisConnectionError) -> RedisConnectionError:
        """What to say of a connection that broke: maybe it had before. Once one did, the others have, too."""
        self._server.forget()
        self._server.doubtful = True
        return StaleError(str(error)) if self._used and not isinstance(error, SilentError) else error

    def _transaction(self, transaction: Transaction) -> list[Reply]:
        commands, asking = transaction
        if asking:
            self._read()
        if len(commands) == 1:
            return [self._read()]
        self._read()
        queued = [self._read() for _ in commands]
        done = self._read()
        if isinstance(done, list):
            return done
        # Nothing was done: what was refused says why, and the others that they were not done.
        return [reply if isinstance(reply, ResponseError) else done for reply in queued]

    def _read(self) -> Reply:
        """A reply, or the error that it is."""
        try:
            if not self._servers.watches:
                return self._connection.read_response()
            return self._watched()
        except ResponseError as error:
            return error

    def _watched(self) -> Reply:
        """A reply, unless it becomes clear that there will be none: another node has taken over, or this one is silent."""
        begun = time.monotonic()
        try:
            while True:
                with contextlib.suppress(RedisTimeoutError):
                    return self._connection.read_response(timeout=LOOK_SECONDS, disconnect_on_error=False)
                self._servers.watch(self._server, time.monotonic() - begun)
        except ResponseError:
            raise
        except BaseException:
            self._connection.disconnect()  # type: ignore[no-untyped-call]
            raise


def _packed(*words: Argument) -> bytes:
    # Its stub has a tuple of one.
    return cast("bytes", hiredis.pack_command(words))  # type: ignore[arg-type]


_ASKING, _MULTI, _EXEC = _packed("ASKING"), _packed("MULTI"), _packed("EXEC")


def _connection(place: Host | str, options: Options, *, tls: bool) -> Connection:
    """A connection that is not made yet. It speaks the second protocol, in which a reply has one shape whatever was asked."""
    made = {
        "socket_timeout": SOCKET_TIMEOUT, "socket_connect_timeout": CONNECT_TIMEOUT, **options,
        "protocol": 2, "decode_responses": False, "health_check_interval": 0, "driver_info": None,
        "retry": Retry(NoBackoff(), 0),
    }  # fmt: skip
    if isinstance(place, str):
        return cast("Connection", UnixDomainSocketConnection(path=place, **made))  # type: ignore[abstract, no-untyped-call]
    kind = SSLConnection if tls else Connection
    return kind(host=place.name, port=place.port, **made)


class Servers:
    """The topology behind a URL. Threads may share it."""

    def __init__(self, url: str, *, timeout: float | None = None, pauses: Sequence[float] = PAUSES) -> None:
        """`timeout`: seconds, for who would rather do without an answer than wait."""
        self._location = locate(url)
        limits = {} if timeout is None else {"socket_timeout": timeout, "socket_connect_timeout": timeout}
        self._options = {**self._location.options, **limits}
        self._patience = min(timeout or ASK_SECONDS, ASK_SECONDS)
        self.pauses = pauses
        self._layout: _Layout | None = None
        self._version = 0
        self.moves = 0
        self._looked_at = 0.0
        self._lock = threading.Lock()
        self._nodes: dict[Host | str, _Server] = {}
        self._redis: Redis | None = None

    # Who owns what

    @property
    def engine(self) -> Engine:
        return self._found().engine

    @property
    def version(self) -> int:
        return self._version

    @property
    def watches(self) -> bool:
        """Whether another node may take over from one that does not answer."""
        return self._layout is not None and self._layout.engine is not Engine.SERVER

    def owner(self, slot: int) -> _Server:
        found = self._found()
        if found.engine is not Engine.CLUSTER:
            return found.primaries[0]
        owner = found.owners[slot]
        if owner is None:
            raise ClusterDownError(f"no node of the cluster owns slot {slot}")
        return owner

    def primaries(self) -> Sequence[_Server]:
        return self._found().primaries

    def node(self, name: str) -> _Server:
        host, _, port = name.rpartition(":")
        return self._node(Host(host.strip("[]"), int(port)))

    def moved(self, slot: int, name: str) -> None:
        if time.monotonic() - self._looked_at > LOOK_SECONDS:
            # After a failover all slots of a node have moved.
            with contextlib.suppress(RedisError):
                self.look(self._version)
        with self._lock:
            layout = self._layout
            if layout is None or layout.engine is not Engine.CLUSTER:
                return
            owners = list(layout.owners)
            owner = owners[slot] = self.node(name)
            primaries = layout.primaries if owner in layout.primaries else [*layout.primaries, owner]
            self._layout = layout._replace(owners=owners, primaries=primaries)
            self._version += 1
            self.moves += 1

    def look(self, seen: int) -> None:
        with self._lock:
            if self._version != seen:
                return
            try:
                self._discover()
            finally:
                # Whoever waited for this goes on with what is known.
                self._version += 1
                self._looked_at = time.monotonic()

    def _discover(self) -> None:
        former = self._layout
        if former is None or former.engine is not Engine.SERVER or len(self._location.hosts) > 1:
            found = self._layout = self._discovered()
            if former is None or (found.owners, found.primaries) != (former.owners, former.primaries):
                self.moves += 1

    def _found(self) -> _Layout:
        while (layout := self._layout) is None:
            self.look(self._version)
        return layout

    def _node(self, place: Host | str) -> _Server:
        return self._nodes.setdefault(place, _Server(place, self._options, tls=self._location.tls, servers=self))

    # Whoever does not answer

    def confirm(self, server: _Server) -> None:
        """Before a connection that broke is made again: is it still the one to ask? A primary that was away takes itself for one
        until Sentinels tell it that another has taken over. A node of a cluster asks the others first.

        Raises:
            RedisError: nobody can say, or another has taken over.
        """
        if self.engine is not Engine.CLUSTER:
            self.look(self._version)
            if server not in self.primaries():
                raise StaleError(f"another has taken over from {server.name}")
        server.doubtful = False

    def watch(self, server: _Server, waited: float) -> None:
        """Somebody has waited so long, in seconds, for a reply.

        Raises:
            RedisConnectionError: another node has taken over.
            SilentError: nobody waits for this one any longer.
            RedisTimeoutError: it was waited for long enough.
        """
        server.late = True
        if time.monotonic() - self._looked_at > LOOK_SECONDS:
            with contextlib.suppress(RedisError):
                self.look(self._version)
        if server not in self.primaries():
            raise RedisConnectionError(f"{server.name} does not answer, and another has taken over")
        if waited > float(cast("float", self._options.get("socket_timeout", SOCKET_TIMEOUT))):
            raise RedisTimeoutError(f"{server.name} does not answer")
        if self.engine is Engine.CLUSTER and (server.silent or waited > SILENT_SECONDS):
            self._note_silent(server)
            raise SilentError(f"{server.name} does not answer")

    def lost(self, node: Node) -> None:
        if isinstance(node, _Server) and self.engine is Engine.CLUSTER:
            self._note_silent(node)

    def _note_silent(self, server: _Server) -> None:
        """Nobody waits for it until it answers, but for a thread that asks it again and again."""
        with self._lock:
            if server.silent:
                return
            server.silent = True
        threading.Thread(target=self._await, args=(server,), name=f"silent-{server.name}", daemon=True).start()

    def _await(self, server: _Server) -> None:
        while True:
            begun = time.monotonic()
            try:
                with _opened(server.connection(**_limits(ASK_SECONDS))) as connection:
                    _ask(connection, "PING")
                break
            except RedisError:
                with contextlib.suppress(RedisError):
                    self.look(self._version)
                if server not in self.primaries():
                    break
            time.sleep(max(0.0, begun + PROBE_SECONDS - time.monotonic()))
        server.forget()
        server.late = server.silent = False

    # Finding out

    def _discovered(self) -> _Layout:
        if self._location.socket is not None:
            # A socket leads to one server.
            return _Layout(Engine.SERVER, (), (self._node(self._location.socket),), ())
        errors: list[RedisError] = []
        known = self._layout
        for place in self._to_ask(known):
            try:
                layout = self._told(place)
            except RedisError as error:
                errors.append(error)
                continue
            for gone in set(known.primaries if known else ()) - set(layout.primaries):
                gone.forget()
            return layout
        # What asks for a password, or for a name, has answered: that is what there is to do something about.
        raise next((error for error in errors if isinstance(error, ResponseError | AuthenticationError)), errors[0])

    def _to_ask(self, known: _Layout | None) -> Iterable[Host]:
        """Whom to ask, in this order."""
        if known is None:
            return self._location.hosts
        nodes = known.primaries if known.engine is Engine.CLUSTER else ()
        late = {server.host for server in known.primaries if server.late or server.silent}
        places = [server.host for server in nodes if server.host is not None]
        random.shuffle(places)
        return sorted(dict.fromkeys([*places, *self._location.hosts, *known.others]), key=lambda place: place in late)

    def _told(self, place: Host) -> _Layout:
        """What one of them says."""
        connection, mode = self._introduced(place)
        with _opened(connection):
            if mode == "cluster":
                return self._cluster(connection, place)
            if mode == "sentinel":
                return self._sentinel(connection)
            if len(self._location.hosts) > 1 and not _is_primary(connection):
                raise RedisConnectionError(f"{place} is no primary")
        return _Layout(Engine.SERVER, (), (self._node(place),), ())

    def _introduced(self, place: Host) -> tuple[Connection, str]:
        """A connection, and to what. Sentinels may want other credentials than the server, or none."""
        options = {**self._options, "db": 0}
        if len(self._location.hosts) > 1 or self._layout is not None:
            options |= _limits(self._patience)
        try:
            return self._connected(place, options)
        except AuthenticationError:
            nobody: Options = {"username": None, "password": None}
            given = {name: options.get(name) for name in nobody}
            if given == {**nobody, **self._location.sentinel}:
                raise
            connection, mode = self._connected(place, {**options, **nobody, **self._location.sentinel})
            if mode == "sentinel":
                return connection, mode
            connection.disconnect()  # type: ignore[no-untyped-call]
            raise

    def _connected(self, place: Host, options: Options) -> tuple[Connection, str]:
        connection = _connection(place, options, tls=self._location.tls)
        try:
            connection.connect()  # type: ignore[no-untyped-call]
            about = info(connection, "server")
            return connection, about.get("server_mode") or about.get("redis_mode") or _mode(connection)
        except BaseException:
            connection.disconnect()  # type: ignore[no-untyped-call]
            raise

    def _cluster(self, connection: Connection, place: Host) -> _Layout:
        owners: list[_Server | None] = [None] * SLOTS
        primaries: dict[_Server, None] = {}
        others: dict[Host, None] = {}
        for first, last, primary, *replicas in cast("list[list[object]]", _ask(connection, "CLUSTER", "SLOTS")):
            node = self._node(_announced(primary, place))
            primaries[node] = None
            start, end = cast("int", first), cast("int", last) + 1
            owners[start:end] = [node] * (end - start)
            others.update((_announced(replica, place), None) for replica in replicas)
        if not primaries:
            raise ClusterDownError(f"{place} is a node of a cluster that has no slots yet")
        return _Layout(Engine.CLUSTER, owners, list(primaries), list(others))

    def _sentinel(self, connection: Connection) -> _Layout:
        found = {row["name"]: row for row in _rows(_ask(connection, "SENTINEL", "MASTERS"))}
        name = self._location.primary
        if name is None and len(found) > 1:
            named = ", ".join(sorted(found))
            raise ResponseError(f"Sentinel watches over {named}: name one in the URL, as ?{PRIMARY}={min(found)}")
        if name is None and not found:
            raise RedisConnectionError("Sentinel watches over no primary")
        name = name or min(found)
        if name not in found:
            raise ResponseError(f"Sentinel knows no primary of the name that the URL gives as its {PRIMARY}")
        node = self._node(_place(found[name]))
        with _opened(node.connection(**_limits(self._patience))) as reached:
            # A Sentinel that was cut off may not know of a failover yet.
            if not _is_primary(reached):
                raise RedisConnectionError(f"{node.name} is no primary any more")
        others = [_place(row) for row in _rows(_ask(connection, "SENTINEL", "SENTINELS", name))]
        return _Layout(Engine.SENTINEL, (), (node,), others)

    # redis-py's own clients

    def redis(self) -> Redis:
        if self._redis is None:
            if self.engine is Engine.CLUSTER:
                nodes = [ClusterNode(*server.host) for server in self.primaries() if server.host is not None]  # type: ignore[no-untyped-call]
                options = {name: value for name, value in self._options.items() if name != "db"}
                made: object = RedisCluster(startup_nodes=nodes, ssl=self._location.tls, **options)
                self._redis = cast("Redis", made)
            else:
                self._redis = self.following(0)
        return self._redis

    def following(self, slot: int) -> Redis:
        retry = Retry(
            ExponentialBackoff(cap=0.5, base=0.05), len(self.pauses), supported_errors=(RedisConnectionError,)
        )
        common = {**_limits(SOCKET_TIMEOUT), "retry": retry, **self._options}
        if self._location.socket is not None:
            pool = ConnectionPool(UnixDomainSocketConnection, path=self._location.socket, **common)
        else:
            kind = _FollowingTLS if self._location.tls else _Following
            pool = ConnectionPool(kind, servers=self, slot=slot, **common)
        return Redis(connection_pool=pool)

    def close(self) -> None:
        for node in self._nodes.values():
            node.forget()
        if self._redis is not None:
            self._redis.close()


class _Follows:
    """A connection of redis-py's that is made to the node that owns a slot, and broken when that is another."""

    def __init__(self, *, servers: Servers, slot: int, **options: object) -> None:
        self._servers = servers
        self._slot = slot
        self._looked = servers.version
        super().__init__(**options)

    def _connect(self) -> object:
        if self._servers.version == self._looked:
            # It is made again, so something happened to it or to its node.
            self._servers.look(self._looked)
        self._looked = self._servers.version
        host = self._servers.owner(self._slot).host
        assert host is not None
        self.host, self.port = host
        return super()._connect()  # type: ignore[misc]

    def read_response(self, *args: object, **options: object) -> object:
        try:
            return super().read_response(*args, **options)  # type: ignore[misc]
        except (ReadOnlyError, AskError, ClusterDownError) as error:
            self.disconnect()  # type: ignore[attr-defined]
            raise RedisConnectionError("another node has taken over") from error


class _Following(_Follows, Connection):
    pass


class _FollowingTLS(_Follows, SSLConnection):
    pass


def _limits(seconds: float) -> Options:
    return {"socket_timeout": seconds, "socket_connect_timeout": seconds}


@contextlib.contextmanager
def _opened(connection: Connection) -> Iterator[Connection]:
    """Connected, for as long as it is needed."""
    try:
        connection.connect()  # type: ignore[no-untyped-call]
        yield connection
    finally:
        connection.disconnect()  # type: ignore[no-untyped-call]


def _ask(connection: Connection, *words: Argument) -> Reply:
    connection.send_command(*words, check_health=False)  # type: ignore[no-untyped-call]
    return connection.read_response()


def info_of(reply: Reply) -> dict[str, str]:
    """What INFO said, by name."""
    lines = cast("bytes", reply).decode(errors="replace").splitlines()
    return {
        name: value for line in lines if not line.startswith("#") for name, mark, value in [line.partition(":")] if mark
    }


def info(connection: Connection, section: str) -> dict[str, str]:
    """What a server says of itself: nothing, if we may not ask."""
    try:
        return info_of(_ask(connection, "INFO", section))
    except ResponseError:
        return {}


def _mode(connection: Connection) -> str:
    """The same as HELLO has it, which most may ask."""
    try:
        flat = cast("list[object]", _ask(connection, "HELLO"))
    except ResponseError:
        return "standalone"
    return text_of(dict(zip(flat[::2], flat[1::2], strict=True)).get(b"mode", b"standalone"))


def _is_primary(connection: Connection) -> bool:
    """Whether a server takes writes; one that does not say may."""
    return info(connection, "replication").get("role", "master") == "master"


def _rows(reply: Reply) -> list[dict[str, str]]:
    """What Sentinel says of servers, by name."""
    return [
        {text_of(name): text_of(value) for name, value in zip(row[::2], row[1::2], strict=True)}
        for row in cast("list[list[bytes]]", reply)
    ]


def _place(row: Mapping[str, str]) -> Host:
    return Host(row["ip"], int(row["port"]))


def _announced(node: object, asked: Host) -> Host:
    """Where a node of a cluster says that it is; nowhere means: where we found it."""
    name, port = cast("list[bytes | int | None]", node)[:2]
    said = text_of(name or b"")
    return Host(asked.name if said in {"", "?"} else said, int(cast("int", port)))


def text_of(value: object) -> str:
    """A word of a reply."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
