"""The whole story, each process with a user of its own on the servers: all that it needs is given to it, and nothing else is."""

from __future__ import annotations

import io
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import cast

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError
from rich.console import Console

from tenure_reader import Mirror, Reader
from tests.cli.running import Tenure
from tests.conftest import ROOT
from tests.console.calling import PAGES, Caller
from tests.engines import DURABLE, Cluster, ServerProcess, plain_client
from tests.resilience.test_engines import KILLED_AT, PatientReader
from tests.rights import OPEN, password, url_as, write_users
from worker.cli.session import Exit
from worker.demo.client import ContractReader, PublishedChange, Sender
from worker.demo.github import running_github
from worker.demo.run import SWEEP_SECONDS, WINDOW_SECONDS, Demo
from worker.demo.story import StoryContext, build
from worker.local.stack import wait_until_ready
from worker.local.supervisor import Child, Supervisor, workers
from worker.local.valkey import free_port
from worker.store.rights import User

SECRET, TOKEN, OPERATOR = "a webhook secret, 0123456789", "a-registry-token-0123456789", "an-operator-token-0123456789"
CLAIMS = {
    "repository_owner": "octo", "repository_owner_id": "1", "repository": "octo/widgets", "repository_id": "1",
    "job_workflow_ref": "octo/widgets/.github/workflows/release.yml@refs/heads/main", "event_name": "push",
}  # fmt: skip
"""Of a repository that has no policy."""
PATIENCE = 20.0
ASKED = ("rights", "exposed", "durable", "memory")
"""What the doctor asks servers about."""


class GuardedServer(ServerProcess):
    """A server on which the user without a name is nobody."""

    def redis(self) -> Redis:
        return Redis("127.0.0.1", self.port, username=User.HEALTH, password=password(User.HEALTH), socket_timeout=5)


@contextmanager
def guarded_server(directory: Path, program: str | None = None) -> Iterator[GuardedServer]:
    users = write_users(directory / "users.acl")
    server = GuardedServer(
        directory, free_port(), *DURABLE, "--aclfile", str(users), "--enable-debug-command", "yes", program=program
    )
    server.start()
    try:
        server.wait(lambda redis: redis.ping(), "it answers")
        yield server
    finally:
        server.kill()


def as_user(user: User, server: ServerProcess) -> Redis:
    return Redis("127.0.0.1", server.port, username=user, password=password(user), decode_responses=True)


def refused(redis: Redis) -> list[tuple[str, str, str]]:
    """What a server refused: user, reason, and what."""
    entries = cast("list[dict[str, str]]", redis.acl_log())
    return [(entry["username"], entry["reason"], entry["object"]) for entry in entries]


@contextmanager
def processes(folder: Path, url: str, settings: Mapping[str, str]) -> Iterator[str]:
    """API, workers, verifier and scheduler, as users of their own. Gives the address of the API."""
    port = free_port()
    ambient = {name: value for name, value in os.environ.items() if not name.startswith("TENURE_")}
    shared = {
        **ambient, **settings, "PYTHONPATH": str(ROOT), "TENURE_DATA_DIR": str(folder), "TENURE_WITNESS_DIR": str(folder / "witness"),
        "TENURE_HTTP_PORT": str(port), "TENURE_WEBHOOK_SECRETS": SECRET, "TENURE_REGISTRY_TOKENS": TOKEN, "TENURE_OPERATOR_TOKENS": OPERATOR,
        "TENURE_PROVISIONAL_DAYS": str(WINDOW_SECONDS / 86_400), "TENURE_SWEEP_HOURS": str(SWEEP_SECONDS / 3600),
        "TENURE_LOG_LEVEL": "warning",
    }  # fmt: skip

    def of(user: User) -> dict[str, str]:
        return {**shared, "TENURE_REDIS_URL": url_as(user, url)}

    supervisor = Supervisor(
        [
            Child("web", ["web"], of(User.WEB)),
            *workers(1, of(User.WORKER), asks=True),
            Child("scheduler", ["scheduler"], of(User.SCHEDULER)),
        ]
    )
    try:
        supervisor.start()
        yield f"http://127.0.0.1:{port}"
    finally:
        supervisor.end()


def play(folder: Path, url: str, read: Callable[[str], ContractReader]) -> list[str]:
    """The story of the demo, and what was not as it should be."""
    told = io.StringIO()
    folder.mkdir()
    with running_github(folder) as github, processes(folder, url, github.settings) as http:
        assert wait_until_ready(http)
        build(github, f"{http}/webhooks/github", SECRET)
        with closing(Sender(http, SECRET, TOKEN)) as sender, closing(read(url_as(User.EXCHANGE, url))) as reader:
            demo = Demo(Console(file=told), StoryContext(sender, github), reader)
            demo.play()
            decided(url_as(User.EXCHANGE, url))
        operate(http, Tenure(folder, url_as(User.OPERATOR, url)))
    return demo.problems


def operate(http: str, tenure: Tenure) -> None:
    """What operators do, at the command line and in the console, and what reads the API."""
    policy = tenure.done("policy", "list").rows[0][0]
    tenure.done("policy", "hold", policy, "--reason", "to see")
    tenure.done("policy", "show", policy)
    tenure.done("hold", "--all", "--reason", "to see", "--apply")
    for command in (("audit",), ("policy", "export"), ("clock",), ("dead", "list"), ("consumer", "list")):
        assert tenure(*command).code in {Exit.DONE, Exit.NOTHING}
    look_around(Caller(http), policy)
    assert [row for row in tenure.done("doctor").rows if row[1] in ASKED and row[0] != "ok"] == []


def look_around(caller: Caller, policy: str) -> None:
    """Every page of the console, an act there, and what is read over HTTP."""
    with caller.http:
        caller.logged_in(OPERATOR)
        assert [caller.get(path).status_code for path in PAGES] == [200] * len(PAGES)
        caller.get(f"/console/policy?id={policy}")
        form = {"act": "release", "id": policy, "reason": "seen", "request_id": str(uuid.uuid4())}
        assert caller.post("/console/policy", form).status_code == 303
        for path in ("/metrics", "/readyz", "/policies", f"/policies/{policy}", "/dead-letters"):
            assert caller.http.get(path, headers={"Authorization": f"Bearer {OPERATOR}"}).status_code == 200


def decided(url: str) -> None:
    """A reader and a mirror are told what is there."""
    with closing(Reader.connect(url)) as reader:
        assert not reader.evaluate(CLAIMS).allowed
    with Mirror(url) as mirror:
        assert mirror.wait(PATIENCE)
        assert not mirror.evaluate(CLAIMS).allowed


def test_the_story_on_one_server(tmp_path: Path, server_program: str) -> None:
    """Given a server with the users of compose.yaml, when the story is played, then all goes as it should and nothing was
    refused to anybody.
    """
    with guarded_server(tmp_path / "server", server_program) as server:
        assert play(tmp_path / "data", f"redis://{server.name}/0", ContractReader) == []
        with as_user(User.OPERATOR, server) as operator:
            assert refused(operator) == []


def test_the_story_on_a_cluster(tmp_path: Path) -> None:
    """The same on three primaries with a replica each."""
    users = write_users(tmp_path / "users.acl", default=OPEN)
    with Cluster(tmp_path / "cluster", arguments=("--aclfile", str(users))) as cluster:
        assert play(tmp_path / "data", cluster.url, lambda _: OnCluster(cluster)) == []
        for server in cluster.servers:
            with server.redis() as redis:
                assert refused(redis) == []


class OnCluster(PatientReader):
    """Reads as the exchange's user, and kills nobody."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self.close()
        self._read_from(plain_client(url_as(User.EXCHANGE, cluster.url), text=True))

    def changes(self, seconds: float) -> Iterator[PublishedChange]:
        self._reads = KILLED_AT
        yield from super().changes(seconds)


NOT_THEIRS: dict[User, list[tuple[str, ...]]] = {
    User.EXCHANGE: [
        ("SET", "tenure:partitions", "1"), ("HSET", "tenure:{p00}:repository:1:1", "p", "{}"), ("XADD", "tenure:{p00}:changes", "*", "event", ""),
        ("DEL", "tenure:{p00}:switches"), ("GET", "tenure:{p00}:policy:p"), ("GET", "tenure:{all}:session:x"), ("HGETALL", "tenure:{all}:github:installations"),
        ("EVALSHA", "0" * 40, "0"), ("PUBLISH", "tenure:{all}:answered", "x"),
    ],
    User.WEB: [
        ("ZADD", "tenure:{all}:alive:worker", "1", "x"), ("HSET", "tenure:{all}:job:due", "error", ""), ("XADD", "tenure:{all}:samples:10", "*", "x", "y"),
        ("SET", "tenure:{all}:clock-reset", "1"), ("GET", "secrets/github"), ("SCAN", "0"), ("ACL", "LOG"), ("ACL", "GETUSER", "web"),
    ],
    User.WORKER: [
        ("GET", "tenure:{all}:session:x"), ("GETDEL", "tenure:{all}:login-code:x"), ("HGETALL", "tenure:{all}:consumers"),
        ("SUBSCRIBE", "tenure:{all}:answered"), ("CONFIG", "GET", "*"), ("SCAN", "0"),
    ],
    User.SCHEDULER: [
        ("GET", "tenure:{p00}:policy:p"), ("HGETALL", "tenure:{p00}:repository:1:1"), ("ZADD", "tenure:{p00}:due", "1", "p"),
        ("HGETALL", "tenure:{p00}:inbox:event:e"), ("GET", "tenure:{all}:session:x"), ("HGETALL", "tenure:{all}:github:installations"),
    ],
    User.OPERATOR: [("GET", "secrets/github"), ("ACL", "GETUSER", "web"), ("ACL", "SETUSER", "web", "+@all")],
    User.HEALTH: [("GET", "tenure:partitions"), ("INFO",), ("DBSIZE",)],
}  # fmt: skip
NOBODYS = [
    ("FLUSHALL",), ("FLUSHDB",), ("KEYS", "*"), ("CONFIG", "SET", "appendfsync", "no"), ("DEBUG", "SLEEP", "0"), ("SHUTDOWN",), ("SAVE",),
    ("REPLICAOF", "NO", "ONE"), ("MONITOR",), ("ACL", "LIST"), ("EVAL", "return 1", "0"), ("SCRIPT", "FLUSH"), ("CLIENT", "LIST"),
    ("CLIENT", "KILL", "ID", "1"), ("MIGRATE", "h", "1", "k", "0", "1"), ("CLUSTER", "FAILOVER"), ("SWAPDB", "0", "1"), ("SORT", "tenure:x"),
    ("SUBSCRIBE", "other"), ("PSYNC", "?", "-1"), ("MODULE", "LIST"), ("FUNCTION", "LIST"),
]  # fmt: skip
"""What no user may do."""


@pytest.mark.parametrize("user", list(User))
def test_each_is_refused_what_it_need_not_do(user: User, acl_server: ServerProcess) -> None:
    with as_user(user, acl_server) as redis:
        for words in (*NOT_THEIRS[user], *NOBODYS):
            with pytest.raises(NoPermissionError):
                redis.execute_command(*words)


def test_who_has_no_name_is_nobody(acl_server: ServerProcess) -> None:
    with Redis("127.0.0.1", acl_server.port) as redis, pytest.raises(AuthenticationError):
        redis.ping()


@pytest.fixture
def acl_server(tmp_path: Path, server_program: str) -> Iterator[ServerProcess]:
    with guarded_server(tmp_path / "server", server_program) as server:
        yield server


def test_the_doctor_names_a_right_that_is_missing(tmp_path: Path) -> None:
    """Given a server whose users lack what this release needs, when a process is refused, then the doctor says what to grant."""
    users = write_users(tmp_path / "users.acl", default=OPEN)
    lacking = users.read_text().replace(" ~tenure:{p*}:counters", "").replace(" +hincrby", "")
    users.write_text(lacking)
    server = ServerProcess(tmp_path / "server", free_port(), *DURABLE, "--aclfile", str(users))
    server.start()
    try:
        server.wait(lambda redis: redis.ping(), "it answers")
        tenure = Tenure(tmp_path, url_as(User.OPERATOR, f"redis://{server.name}/0"))
        with as_user(User.WEB, server) as web:
            for words in (
                ("HGETALL", "tenure:{p07}:counters"),
                ("HINCRBY", "tenure:{p07}:settings", "x", "1"),
                ("FLUSHALL",),
            ):
                with pytest.raises(NoPermissionError):
                    web.execute_command(*words)
        (finding,) = [found for found in tenure("doctor", "--json").objects if found["check"] == "rights"]
        assert finding["level"] == "problem"
        assert "web 1 times key tenure:{p07}:counters" in str(finding["finding"])
        assert "`ACL SETUSER web ~tenure:{p*}:counters`" in str(finding["advice"])
        assert "`ACL SETUSER web +hincrby`" in str(finding["advice"])
        assert "+flushall" not in str(finding["advice"])
    finally:
        server.kill()
