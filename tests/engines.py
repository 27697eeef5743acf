"""A cluster, and a primary with Sentinels, of real servers on loopback.

What nodes and Sentinels tell each other after their start is in their files from the beginning, so that nobody waits for it.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from itertools import cycle, islice
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from redis import Redis, RedisCluster
from redis.cluster import ClusterNode
from redis.exceptions import RedisError

from worker.local.valkey import EmbeddedStore, die_with_parent, find_server, free_port
from worker.store.client import Argument, Client, Command, Reply, connect
from worker.store.keys import Keyspace
from worker.store.replies import fields
from worker.store.topology import Engine as StoreEngine
from worker.store.topology import slot_of
from worker.store.urls import locate

KEYS = [partition.counters for partition in Keyspace(100).all()]
"""One key of each partition: every node of a cluster has some."""
NODE_TIMEOUT_MS = 1_000
"""After this long without a sign of life a node of the cluster, or a primary with Sentinels, counts as down."""
PATIENT_MS = 60_000
"""The same where nobody fails: on a busy machine a server may be silent for a second, and another would take over."""
SLOTS = 16384
START_SECONDS = 30.0
NO_OTHERS: Mapping[int, str] = {}


_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw3").removeprefix("gw")) % 4
_BAND = 5_000
_PORTS = islice(cycle(range(12_000 + _WORKER * _BAND, 12_000 + (_WORKER + 1) * _BAND)), os.getpid() * 97 % _BAND, None)
"""Below those that systems give to outgoing connections, each process of the tests its own: what is free when it is looked at is
free when a server takes it, which may be after others were started.
"""


def distinct_ports(count: int) -> list[int]:
    return list(islice((port for port in _PORTS if free_port(port) == port), count))


class Certificates(NamedTuple):
    """Files of a certificate authority, and of a certificate for 127.0.0.1 that it signed, which all use."""

    authority: Path
    certificate: Path
    key: Path

    def arguments(self, port: int) -> list[str]:
        """What a server is told, so that it takes connections of TLS and no others."""
        files = {"--tls-ca-cert-file": self.authority, "--tls-cert-file": self.certificate, "--tls-key-file": self.key}
        told = ["--port", "0", "--tls-port", str(port), "--tls-cluster", "yes", "--tls-replication", "yes"]
        return told + [word for name, path in files.items() for word in (name, str(path))]

    def options(self) -> dict[str, str]:
        """What a client is told."""
        return {
            "ssl_ca_certs": str(self.authority), "ssl_certfile": str(self.certificate), "ssl_keyfile": str(self.key),
        }  # fmt: skip


def make_certificates(directory: Path) -> Certificates:
    """A new authority, and what it signs."""
    now, made = dt.datetime.now(dt.UTC), Certificates(*(directory / name for name in ("ca", "crt", "key")))
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer, subject = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("authority", "node"))
    build = x509.CertificateBuilder().issuer_name(issuer).not_valid_before(now).not_valid_after(now + dt.timedelta(1))
    authority = (
        build.subject_name(issuer).serial_number(1).public_key(authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    ).sign(authority_key, hashes.SHA256())  # fmt: skip
    certificate = (
        build.subject_name(subject).serial_number(2).public_key(key.public_key())
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
    ).sign(authority_key, hashes.SHA256())  # fmt: skip
    made.authority.write_bytes(authority.public_bytes(Encoding.PEM))
    made.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
    made.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return made


class ServerProcess:
    """One server program, with its files in a directory; of the `program`, which is the embedded one if none is said."""

    def __init__(
        self,
        directory: Path,
        port: int,
        *arguments: str,
        sentinel: bool = False,
        program: str | None = None,
        certificates: Certificates | None = None,
    ) -> None:
        self.directory = directory
        self.port = port
        self._arguments = [*arguments, *(certificates.arguments(port) if certificates else ())]
        self._program = program
        self._options: dict[str, Any] = {"ssl": True, **certificates.options()} if certificates else {}
        self._sentinel = sentinel
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        common = ("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.directory))
        logs = ("--logfile", str(self.directory / "server.log"), "--daemonize", "no")
        written = [str(self.directory / "sentinel.conf"), "--sentinel"] if self._sentinel else []
        self._process = subprocess.Popen(
            [self._program or find_server(), *written, *common, *logs, *self._arguments],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - one prctl call, before any thread of the child
        )

    def redis(self) -> Redis:
        return Redis("127.0.0.1", self.port, socket_timeout=5, **self._options)

    def wait(self, condition: Callable[[Redis], object], what: str) -> None:
        """Wait for something that it says."""
        until = time.monotonic() + START_SECONDS
        with self.redis() as redis:
            while True:
                assert self.running, self.log
                with contextlib.suppress(RedisError):
                    if condition(redis):
                        return
                assert time.monotonic() < until, f"{self.name}: not in time: {what}\n{self.log}"
                time.sleep(0.01)

    @property
    def log(self) -> str:
        return (self.directory / "server.log").read_text(errors="replace")[-3000:]

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None and self._process.poll() is None:
            self.resume()
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)


DURABLE = (
    "--appendonly", "yes", "--appendfsync", "always", "--save", "", "--maxmemory-policy", "noeviction",
    "--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1",
)  # fmt: skip


class Engine:
    """Servers that begin and end together."""

    def __init__(self) -> None:
        self.servers: list[ServerProcess] = []

    def start(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        for server in self.servers:
            server.kill()


class Cluster(Engine):
    """Primaries of a cluster with replicas."""

    def __init__(
        self,
        directory: Path,
        *,
        primaries: int = 3,
        replicas: int = 1,
        arguments: Sequence[str] = (),
        program: str | None = None,
        programs: Mapping[int, str] = NO_OTHERS,
        certificates: Certificates | None = None,
        timeout_ms: int = NODE_TIMEOUT_MS,
    ) -> None:
        """`programs`: of nodes that have another than the rest."""
        super().__init__()
        count = primaries * (1 + replicas)
        ports = distinct_ports(2 * count)
        self.ids = [f"{place:040x}" for place in range(1, count + 1)]
        self.buses = ports[count:]
        self._primaries = primaries
        self.replicas_each = replicas
        limits = ("--cluster-node-timeout", str(timeout_ms), "--cluster-replica-validity-factor", "0")
        for place in range(count):
            own = (
                "--cluster-enabled", "yes", "--cluster-port", str(self.buses[place]), *limits,
                "--cluster-config-file", "nodes.conf", "--cluster-allow-replica-migration", "no",
                "--cluster-require-full-coverage", "no", *DURABLE, *arguments,
            )  # fmt: skip
            self.servers.append(
                ServerProcess(
                    directory / f"node-{place}",
                    ports[place],
                    *own,
                    program=programs.get(place, program),
                    certificates=certificates,
                )
            )

    @property
    def primaries(self) -> list[ServerProcess]:
        """Those that began as primaries."""
        return self.servers[: self._primaries]

    def replicas_of(self, place: int) -> list[ServerProcess]:
        return self.servers[self._primaries + place :: self._primaries]

    @property
    def url(self) -> str:
        return f"redis://{','.join(server.name for server in self.primaries)}/0"

    def place_of(self, key: str) -> int:
        """The primary that has a key, as they begin."""
        return next(place for place in range(self._primaries) if slot_of(key) <= self.slots(place)[1])

    def slots(self, place: int) -> tuple[int, int]:
        """The first and the last slot of a primary, as they begin."""
        return place * SLOTS // self._primaries, (place + 1) * SLOTS // self._primaries - 1

    def start(self) -> None:
        for mine, server in enumerate(self.servers):
            lines = []
            for place, node in enumerate(self.servers):
                me = "myself," if place == mine else ""
                at = f"127.0.0.1:{node.port}@{self.buses[place]}"
                if place < self._primaries:
                    first, last = self.slots(place)
                    lines.append(f"{self.ids[place]} {at} {me}master - 0 0 {place + 1} connected {first}-{last}")
                else:
                    of = place % self._primaries
                    lines.append(f"{self.ids[place]} {at} {me}slave {self.ids[of]} 0 0 {of + 1} connected")
            lines.append(f"vars currentEpoch {self._primaries} lastVoteEpoch 0")
            (server.directory / "nodes.conf").write_text("\n".join(lines) + "\n")
            server.start()
        for place, server in enumerate(self.servers):
            server.wait(_is_up, "the cluster is up")
            if place >= self._primaries:
                server.wait(lambda redis: replication(redis)["master_link_status"] == "up", "replica follows")

    def migrate(self, first: int, last: int, source: int, target: int) -> None:
        """Move slots with all that is in them, as Valkey does it: at once, at the end. Returns when it is done."""
        with self.servers[source].redis() as here:
            here.execute_command("CLUSTER MIGRATESLOTS", "SLOTSRANGE", first, last, "NODE", self.ids[target])
        port = self.servers[target].port

        def has_them(redis: Redis) -> bool:
            slots = cast("list[tuple[int, int, list[object]]]", redis.cluster("SLOTS"))
            return any(begin <= first and end >= last and owner[1] == port for begin, end, owner, *_ in slots)

        for server in self.primaries:
            server.wait(has_them, "slots have moved")

    def migrate_keys(self, slot: int, source: int, target: int) -> Iterator[str]:
        """Move a slot key by key, as `valkey-cli --cluster reshard` does; tells what was done after each step."""
        with self.primaries[source].redis() as here, self.primaries[target].redis() as there:
            there.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", self.ids[source])
            here.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", self.ids[target])
            yield "begun"
            while keys := cast("list[bytes]", here.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1000)):
                for key in sorted(keys):
                    here.execute_command("MIGRATE", "127.0.0.1", self.primaries[target].port, key, 0, 5000)
                    yield key.decode()
            for redis in (there, here):
                redis.execute_command("CLUSTER SETSLOT", slot, "NODE", self.ids[target])
            yield "done"

    def await_failover(self, to: ServerProcess) -> None:
        """Wait until a replica has taken over, and all that is left of the cluster knows."""
        to.wait(lambda redis: replication(redis)["role"] == "master", "it took over")
        for server in self.servers:
            if server.running:
                server.wait(_is_up, "the cluster is up")


class Sentinels(Engine):
    """A primary with replicas, and Sentinels that watch over them."""

    NAME = "tenure-store"

    def __init__(
        self,
        directory: Path,
        *,
        replicas: int = 2,
        sentinels: int = 3,
        arguments: Sequence[str] = (),
        timeout_ms: int = NODE_TIMEOUT_MS,
    ) -> None:
        super().__init__()
        ports = distinct_ports(1 + replicas + sentinels)
        self.primary = ServerProcess(directory / "primary", ports[0], *DURABLE, *arguments)
        follow = ("--replicaof", "127.0.0.1", str(ports[0]))
        self.replicas = [
            ServerProcess(directory / f"replica-{port}", port, *DURABLE, *follow, *arguments)
            for port in ports[1 : 1 + replicas]
        ]
        self.sentinels = [
            ServerProcess(directory / f"sentinel-{port}", port, sentinel=True) for port in ports[1 + replicas :]
        ]
        self.replicas_each = replicas
        self._timeout_ms = timeout_ms
        self.servers = [self.primary, *self.replicas, *self.sentinels]

    @property
    def url(self) -> str:
        return f"redis://{','.join(sentinel.name for sentinel in self.sentinels)}/0"

    def start(self) -> None:
        name, ids = self.NAME, {server.port: f"{server.port:040x}" for server in self.sentinels}
        for server in (self.primary, *self.replicas):
            server.start()
        for sentinel in self.sentinels:
            others = [other.port for other in self.sentinels if other is not sentinel]
            lines = [
                f"sentinel myid {ids[sentinel.port]}",
                f"sentinel monitor {name} 127.0.0.1 {self.primary.port} {len(self.sentinels) // 2 + 1}",
                f"sentinel down-after-milliseconds {name} {self._timeout_ms}",
                f"sentinel failover-timeout {name} 3000",
                *(f"sentinel known-replica {name} 127.0.0.1 {replica.port}" for replica in self.replicas),
                *(f"sentinel known-sentinel {name} 127.0.0.1 {port} {ids[port]}" for port in others),
            ]
            (sentinel.directory / "sentinel.conf").write_text("\n".join(lines) + "\n")
            sentinel.start()
        for replica in self.replicas:
            replica.wait(lambda redis: replication(redis)["master_link_status"] == "up", "replica follows")
        for sentinel in self.sentinels:
            sentinel.wait(lambda redis: redis.ping(), "Sentinel is up")

    def await_failover(self, old: ServerProcess) -> None:
        """Wait until every Sentinel names another primary."""
        for sentinel in self.sentinels:
            if sentinel.running:
                sentinel.wait(lambda redis: self._named(redis) != old.port, "another took over")

    def _named(self, redis: Redis) -> int:
        """The port of the primary, as a Sentinel says."""
        return int(cast("tuple[str, int]", redis.sentinel_get_master_addr_by_name(self.NAME))[1])


def _is_up(redis: Redis) -> bool:
    return cast("dict[str, str]", redis.execute_command("CLUSTER INFO"))["cluster_state"] == "ok"  # type: ignore[no-untyped-call]


def replication(redis: Redis) -> dict[str, object]:
    return cast("dict[str, object]", redis.info("replication"))


@contextlib.contextmanager
def paused(server: ServerProcess) -> Iterator[None]:
    """While this lasts, it answers nobody."""
    server.pause()
    try:
        yield
    finally:
        server.resume()


# A store for tests of whatever is on it

STORES: dict[str, type[Cluster | Sentinels]] = {
    "cluster": Cluster,
    "sentinels": Sentinels,
}
"""What a run of the tests may be told to take, with `--engine`."""
CHOSEN = "TENURE_TESTS_ENGINE"


class EngineStore(EmbeddedStore):
    """A store on several servers. What is done to the one server is not done here."""

    def __init__(self, engine: Cluster | Sentinels, directory: Path) -> None:
        self._engine = engine
        self.directory = directory
        self.replicas = engine.replicas_each
        """Of each primary."""

    @property
    def url(self) -> str:
        return self._engine.url

    def __getattribute__(self, name: str) -> object:
        assert name not in {"port", "pid", "start", "stop", "kill", "running"}, (
            f"a test of one server is marked so: {name}"
        )
        return super().__getattribute__(name)


@contextlib.contextmanager
def store_in(directory: Path) -> Iterator[EmbeddedStore]:
    """An empty store of the kind that was chosen: one server, unless something else was."""
    chosen = os.environ.get(CHOSEN)
    if chosen is None:
        with EmbeddedStore(directory, free_port()) as store:
            yield store
    else:
        with STORES[chosen](directory, timeout_ms=PATIENT_MS) as engine:
            yield EngineStore(engine, directory)


def replicas_of(store: EmbeddedStore) -> int:
    """How many replicas its primaries have: what is acknowledged waits for them."""
    return store.replicas if isinstance(store, EngineStore) else 0


def waiting_for_replicas(store: EmbeddedStore) -> dict[str, str]:
    """The setting that goes with a store."""
    return {"TENURE_WAIT_REPLICAS": str(replicas_of(store))}


def on_each(client: Client, *words: Argument) -> list[Reply]:
    """What every primary answers to a command, which none refuses."""
    replies = list(client.each(*words).values())
    for reply in replies:
        if isinstance(reply, RedisError):
            raise reply
    return replies


def configuration(client: Client) -> list[dict[str, bytes]]:
    """How each primary is configured."""
    return [fields(reply) for reply in on_each(client, "CONFIG", "GET", "*")]


@contextlib.contextmanager
def configured(client: Client, settings: Mapping[str, Argument]) -> Iterator[None]:
    """Every primary with another configuration, for a while."""
    former = configuration(client)[0]
    try:
        for name, value in settings.items():
            on_each(client, "CONFIG", "SET", name, value)
        yield
    finally:
        for name in settings:
            on_each(client, "CONFIG", "SET", name, former[name])


@contextlib.contextmanager
def user(client: Client, name: str, *rules: str) -> Iterator[None]:
    """A user of every primary, for a while."""
    on_each(client, "ACL", "SETUSER", name, "on", *rules)
    try:
        yield
    finally:
        on_each(client, "ACL", "DELUSER", name)
        on_each(client, "ACL", "LOG", "RESET")


def plain_client(url: str, *, text: bool = False) -> Redis:
    """A client that knows nothing of ours."""
    found = locate(url)
    with contextlib.closing(connect(url)) as servers:
        (first, *_), clustered = servers.primaries(), servers.engine is StoreEngine.CLUSTER
    assert first.host is not None
    options = {**found.options, "decode_responses": text, "socket_timeout": 60}
    if clustered:
        node = ClusterNode(*first.host)  # type: ignore[no-untyped-call]
        made: object = RedisCluster(startup_nodes=[node], **{k: v for k, v in options.items() if k != "db"})
        return cast("Redis", made)
    return Redis(first.host.name, first.host.port, **options)


# Through a client


def put_everywhere(client: Client, value: int) -> list[Reply]:
    return client.run([Command(("SET", key, value)) for key in KEYS])


def owner(client: Client, cluster: Cluster, key: str) -> ServerProcess:
    """The node on which a key is, as the client has it."""
    name = client.topology.owner(slot_of(key)).name
    return next(server for server in cluster.servers if server.name == name)


def place_of(client: Client, cluster: Cluster, key: str) -> int:
    return cluster.servers.index(owner(client, cluster, key))
