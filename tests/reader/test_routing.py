"""Who is asked, and what is done when nobody answers there: nodes that say what a test lets them say, and no time passes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TypeVar

import pytest
from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterDownError,
    MovedError,
    NoPermissionError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from tenure_reader import routing
from tenure_reader.nodes import NOWHERE, TIMEOUT, failure_of
from tenure_reader.routing import BELIEVED, LIMIT, Command, NodeError, Pause, Router, Send, Steps, UnavailableError
from tenure_reader.topology import Address, slot_of

ResultT = TypeVar("ResultT")
Table = dict[Address, list[tuple[int, int]]]
"""Primary → the ranges of slots that it has."""

A, B, C, D = (Address("10.0.0.1", port) for port in range(1, 5))
KEY = "tenure:{p11}:settings"
SLOT = slot_of(KEY)
GET: list[Command] = [("GET", KEY)]
THIRDS: Table = {A: [(0, 5460)], B: [(5461, 10922)], C: [(10923, 16383)]}
MOVED, ASK = f"{SLOT} 10.0.0.1:3", f"{SLOT} 10.0.0.1:3"
OWNER = next(node for node, [(first, last)] in THIRDS.items() if first <= SLOT <= last)
OTHERS = [node for node in THIRDS if node != OWNER]
RESPONSES: dict[str, object] = {"TIME": [b"2", b"7"], "GET": b"value"}


class Cluster:
    """What each node says. `table`: as it knows the cluster, which may be out of date."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, mode: str = "cluster") -> None:
        self.mode = mode
        self.now = 100.0
        self.tables: dict[Address, Table] = dict.fromkeys(THIRDS, THIRDS)
        self.replicas: list[Address] = []
        self.sentinels: dict[Address, tuple[Address, str]] = {}
        """Sentinel → the primary that it names, and its flags."""
        self.away: dict[Address, RedisError] = {}
        self.refused: dict[Address, list[RedisError]] = {}
        """What a node answers to the next questions to the store."""
        self.roles: dict[Address, bytes] = {}
        self.asked: list[tuple[Address, str]] = []
        monkeypatch.setattr(routing, "time", self)

    def monotonic(self) -> float:
        return self.now

    def run(self, steps: Steps[ResultT]) -> ResultT:
        try:
            step = next(steps)
            while True:
                if isinstance(step, Pause):
                    self.now += step.seconds
                    step = steps.send([])
                    continue
                try:
                    replies = self._reply(step)
                except RedisError as error:
                    step = steps.throw(failure_of(error))
                else:
                    step = steps.send(replies)
        except StopIteration as end:
            result: ResultT = end.value
            return result

    def _reply(self, send: Send) -> list[object]:
        first = str(send.commands[-1][0])
        self.asked.append((send.to, first))
        if send.to in self.away:
            if isinstance(self.away[send.to], RedisTimeoutError):
                self.now += 0.5 if send.brief else TIMEOUT
            raise self.away[send.to]
        if first == "INFO":
            return [{"redis_mode": "sentinel" if send.to in self.sentinels else self.mode}]
        if first == "SENTINEL":
            primary, flags = self.sentinels[send.to]
            words = ["name", "tenure", "ip", primary.host, "port", str(primary.port), "flags", flags]
            return [[[word.encode() for word in words]]]
        if first == "CLUSTER":
            extra = [[node.host.encode(), node.port] for node in self.replicas]
            table = self.tables[send.to]
            return [
                [[*span, [node.host.encode(), node.port], *extra] for node, spans in table.items() for span in spans]
            ]
        if self.refused.get(send.to):
            raise self.refused[send.to].pop(0)
        role = [self.roles.get(send.to, b"master"), b"h", 1, b"connected", 0]
        return [role if words == ("ROLE",) else RESPONSES[str(words[0])] for words in send.commands]

    def questions(self) -> list[Address]:
        """Who was asked about the store."""
        return [node for node, first in self.asked if first == "GET"]


Failing = Callable[[], RedisError]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    return Cluster(monkeypatch)


def ask(cluster: Cluster, router: Router) -> Sequence[object]:
    return cluster.run(router.transaction(KEY, GET)).replies


def test_the_node_that_has_the_slot_is_asked_in_one_round_trip(cluster: Cluster) -> None:
    router = Router([A])
    assert cluster.run(router.transaction(KEY, GET)) == (2_000_007, [b"value"])
    assert cluster.questions() == [OWNER]
    cluster.asked.clear()
    ask(cluster, router)
    assert cluster.asked == [(OWNER, "GET")]


def test_whoever_is_named_first_may_be_away(cluster: Cluster) -> None:
    cluster.away[D] = RedisConnectionError("no")
    assert ask(cluster, Router([D, A, B, C])) == [b"value"]


@pytest.mark.parametrize("error", [
    lambda: MovedError(MOVED), lambda: AskError(ASK), TryAgainError,
    lambda: ClusterDownError("CLUSTERDOWN"), RedisConnectionError,
])  # fmt: skip
def test_what_passes_is_waited_for(cluster: Cluster, error: Failing) -> None:
    router = Router([A, B, C])
    cluster.refused[OWNER] = [error() for _ in range(4)]
    assert ask(cluster, router) == [b"value"]
    assert cluster.questions() == [OWNER] * 5


@pytest.mark.parametrize(
    "error", [lambda: NoPermissionError("no"), lambda: ResponseError("no"), lambda: AuthenticationError("no")]
)
def test_what_does_not_pass_is_said_at_once(cluster: Cluster, error: Failing) -> None:
    router = Router([A, B, C])
    cluster.refused[OWNER] = [error()]
    with pytest.raises(UnavailableError, match="Error: no"):
        ask(cluster, router)
    assert cluster.questions() == [OWNER]


STREAM = "tenure:{p11}:changes"
LAST = ("XREVRANGE", STREAM, "+", "-", "COUNT", 1)


class Moving:
    """Two nodes between which keys are on their way: what each has, and what was published."""

    def __init__(self, cluster: Cluster) -> None:
        self.here = {KEY: b"here", STREAM: [b"7-0"]}
        self.there: dict[str, object] = {}
        self.sent: list[Send] = []
        self.publishes = 0
        self._others = cluster._reply
        cluster._reply = self.reply  # type: ignore[method-assign]
        self.target = OTHERS[0]

    def reply(self, send: Send) -> list[object]:
        if send.commands[0][0] in ("INFO", "CLUSTER"):
            return self._others(send)
        self.sent.append(send)
        if send.atomic:
            raise TryAgainError("TRYAGAIN")
        if send.to == self.target:
            assert all(words == ("ASKING",) for words in send.commands[::2])
            return [self.there.get(str(words[1])) if len(words) > 1 else b"OK" for words in send.commands]
        assert send.lenient
        return [self._said(words) for words in send.commands]

    def _said(self, words: Command) -> object:
        if len(words) == 1:
            return RESPONSES["TIME"] if words == ("TIME",) else [b"master"]
        key = str(words[1])
        if key == KEY and self.publishes:
            self.publishes -= 1
            self.here[STREAM] = [b"8-%d" % self.publishes]
        if key in self.here:
            return self.here[key]
        return failure_of(AskError(f"{SLOT} {self.target.host}:{self.target.port}"))


def gathered(cluster: Cluster, router: Router, *commands: Command) -> list[object]:
    return cluster.run(router.transaction(KEY, commands, witness=STREAM)).replies


def test_while_keys_are_on_their_way_each_is_read_where_it_is(cluster: Cluster) -> None:
    """Whatever has moved: some keys, the stream, or all of them; a key that nobody has is nowhere."""
    router, moving = Router([A, B, C]), Moving(cluster)
    asked: list[Command] = [*GET, ("GET", "tenure:{p11}:none")]
    for key in (None, KEY, STREAM):
        if key is not None:
            moving.there[key] = moving.here.pop(key)
        assert gathered(cluster, router, *asked) == [b"here", None]
    assert gathered(cluster, router, ("GET", STREAM)) == [[b"7-0"]]


def test_what_is_published_meanwhile_makes_it_ask_again(cluster: Cluster) -> None:
    router, moving = Router([A, B, C]), Moving(cluster)
    moving.publishes = 3
    assert gathered(cluster, router, *GET) == [b"here"]
    assert sum(send.atomic for send in moving.sent) == 4
    moving.publishes = 10**6
    with pytest.raises(UnavailableError, match="something was published"):
        gathered(cluster, router, *GET)


def test_without_a_witness_nothing_is_gathered(cluster: Cluster) -> None:
    router, moving = Router([A, B, C]), Moving(cluster)
    with pytest.raises(UnavailableError, match="TRYAGAIN"):
        ask(cluster, router)
    assert all(send.atomic for send in moving.sent)


def test_after_a_failover_the_replica_is_asked(cluster: Cluster) -> None:
    """Given a primary that is gone, when another took its place, then that one is asked, and it was named by others."""
    router = Router([A, B, C])
    ask(cluster, router)
    cluster.away[OWNER] = RedisConnectionError("gone")
    new: Table = {D if node == OWNER else node: spans for node, spans in THIRDS.items()}
    for node in (*OTHERS, D):
        cluster.tables[node] = new
    assert ask(cluster, router) == [b"value"]
    assert cluster.questions()[-1] == D


def test_it_ends_in_time(cluster: Cluster) -> None:
    router = Router([A, B, C])
    ask(cluster, router)
    began = cluster.now
    cluster.away[OWNER] = RedisConnectionError("gone")
    with pytest.raises(UnavailableError, match="ConnectionError: gone"):
        ask(cluster, router)
    assert cluster.now - began <= LIMIT
    cluster.away[OWNER] = RedisTimeoutError("paused")
    began = cluster.now
    with pytest.raises(UnavailableError, match="TimeoutError: paused"):
        ask(cluster, router)
    assert cluster.now - began <= LIMIT + TIMEOUT


def test_a_silent_node_does_not_hold_up_questions_to_others(cluster: Cluster) -> None:
    """Given that somebody else has to name the primary, when a node is silent, then it costs one short wait, once."""
    router = Router([A, B, C])
    ask(cluster, router)
    for silent in OTHERS:
        cluster.away = {silent: RedisTimeoutError("paused")}
        waits = []
        for _ in range(5):
            cluster.now += BELIEVED
            began = cluster.now
            assert ask(cluster, router) == [b"value"]
            waits.append(cluster.now - began)
        assert sum(wait > 0 for wait in waits) <= 1
        assert max(waits) <= 0.5


def test_a_silent_primary_is_waited_for_by_one_question_a_second(cluster: Cluster) -> None:
    """Given a node that does not answer, when many ask for what it has, then one waits for it, and the others know at once."""
    router = Router([A, B, C])
    ask(cluster, router)
    cluster.away[OWNER] = RedisTimeoutError("paused")
    waits = []
    for _ in range(20):
        began = cluster.now
        with pytest.raises(UnavailableError):
            ask(cluster, router)
        waits.append(cluster.now - began)
        cluster.now += BELIEVED / 10
    assert sum(wait >= TIMEOUT for wait in waits) <= 3
    assert sum(wait == 0 for wait in waits) >= 15
    cluster.away.clear()
    cluster.now += BELIEVED
    assert ask(cluster, router) == [b"value"]


def test_who_only_is_slow_to_name_others_is_asked_what_it_has(cluster: Cluster) -> None:
    router = Router([A, B, C])
    ask(cluster, router)
    cluster.away[OWNER] = RedisTimeoutError("slow")
    steps = router._asked("cluster", OWNER)
    with pytest.raises(NodeError):
        cluster.run(steps)
    cluster.away.clear()
    assert ask(cluster, router) == [b"value"]


def test_a_primary_that_was_away_is_not_believed_by_its_own_word(cluster: Cluster) -> None:
    """Given a primary that lost its place while it was away, when it is back and does not know, then nobody asks it."""
    router = Router([OWNER])
    ask(cluster, router)
    new: Table = {D if node == OWNER else node: spans for node, spans in THIRDS.items()}
    for node in (*OTHERS, D):
        cluster.tables[node] = new
    cluster.now += BELIEVED
    cluster.asked.clear()
    assert ask(cluster, router) == [b"value"]
    assert cluster.questions() == [D]
    assert (OWNER, "CLUSTER") not in cluster.asked


@pytest.mark.parametrize("seeds", [[OWNER], [OWNER, *OTHERS, D], [*OTHERS, OWNER]])
def test_nor_at_first(cluster: Cluster, seeds: list[Address]) -> None:
    new: Table = {D if node == OWNER else node: spans for node, spans in THIRDS.items()}
    for node in (*OTHERS, D):
        cluster.tables[node] = new
    assert ask(cluster, Router(seeds)) == [b"value"]
    assert cluster.questions() == [D]


def test_nor_by_another_name_of_its_own(cluster: Cluster) -> None:
    """Given hosts that are named otherwise than the cluster names its nodes, then what one says of itself does not count."""
    alias = Address("node-a.example", OWNER.port)
    new: Table = {D if node == OWNER else node: spans for node, spans in THIRDS.items()}
    for node in (*OTHERS, D):
        cluster.tables[node] = new
    cluster.tables[alias] = THIRDS
    assert ask(cluster, Router([alias])) == [b"value"]
    assert cluster.questions() == [D]


def test_where_nobody_names_it_there_is_no_answer(cluster: Cluster) -> None:
    router = Router([A, B, C])
    ask(cluster, router)
    cluster.away |= {node: RedisConnectionError("gone") for node in OTHERS}
    assert ask(cluster, router) == [b"value"]  # A moment ago somebody did.
    cluster.now += BELIEVED
    with pytest.raises(UnavailableError, match="nobody confirms"):
        ask(cluster, router)


def test_a_cluster_of_one_node_names_itself(cluster: Cluster) -> None:
    cluster.tables[A] = {A: [(0, 16383)]}
    router = Router([A])
    for _ in range(3):
        cluster.now += BELIEVED
        assert ask(cluster, router) == [b"value"]


def test_nodes_that_do_not_agree_give_no_answer(cluster: Cluster) -> None:
    """Each says that it has the slot itself."""
    cluster.tables = {node: {node: [(1, 16383)], other: [(0, 0)]} for node, other in ((A, B), (B, C), (C, A))}
    with pytest.raises(UnavailableError, match="do not agree"):
        ask(cluster, Router([A, B, C]))


def test_a_slot_that_nobody_has_is_waited_for(cluster: Cluster) -> None:
    for node in cluster.tables:
        cluster.tables[node] = {node: spans for node, spans in THIRDS.items() if node != OWNER}
    router = Router([A, B, C])
    with pytest.raises(UnavailableError, match=f"no node of the cluster has slot {SLOT}"):
        ask(cluster, router)
    cluster.tables = dict.fromkeys(THIRDS, THIRDS)
    assert ask(cluster, router) == [b"value"]


def test_single_keys_are_asked_for_where_they_are(cluster: Cluster) -> None:
    keys = [f"tenure:{{p{number:02d}}}:directory" for number in range(40)]
    replies = cluster.run(Router([A]).each([(key, ("GET", key)) for key in keys]))
    assert replies == [b"value"] * 40
    assert sorted(cluster.questions()) == [A, B, C]
    assert cluster.run(Router([A]).each([])) == []


def test_every_primary_of_a_mirror_is_named_by_another(cluster: Cluster) -> None:
    router = Router([A])
    assert cluster.run(router.topology([0, 6000, 16383])).primaries == (A, B, C)
    assert sum(first == "CLUSTER" for _, first in cluster.asked) <= 3
    cluster.asked.clear()
    cluster.run(router.topology([0, 6000, 16383]))
    assert len({node for node, _ in cluster.asked}) == 2


# Sentinels


@pytest.fixture
def sentinels(cluster: Cluster) -> Cluster:
    cluster.sentinels = dict.fromkeys((A, B, C), (D, "master"))
    return cluster


def test_the_primary_is_asked_for_at_a_sentinel_once_a_second(sentinels: Cluster) -> None:
    router = Router([A, B, C])
    for _ in range(20):
        sentinels.now += BELIEVED / 10
        assert ask(sentinels, router) == [b"value"]
    assert sentinels.questions() == [D] * 20
    assert sum(first == "SENTINEL" for _, first in sentinels.asked) <= 3


def test_a_primary_that_became_a_replica_is_not_believed(sentinels: Cluster) -> None:
    router = Router([A, B, C])
    ask(sentinels, router)
    sentinels.roles[D] = b"slave"
    sentinels.sentinels |= {node: (Address("10.0.0.9", 9), "master") for node in (A, B, C)}
    assert ask(sentinels, router) == [b"value"]
    assert sentinels.questions()[-1] == Address("10.0.0.9", 9)


def test_without_a_sentinel_there_is_no_answer(sentinels: Cluster) -> None:
    router = Router([A, B, C])
    ask(sentinels, router)
    sentinels.away = {node: RedisConnectionError("gone") for node in (A, B)}
    sentinels.now += BELIEVED
    assert ask(sentinels, router) == [b"value"]
    sentinels.away[C] = RedisConnectionError("gone")
    sentinels.now += BELIEVED
    with pytest.raises(UnavailableError, match="ConnectionError: gone"):
        ask(sentinels, router)


def test_a_sentinel_that_takes_it_for_lost_is_not_the_last_word(sentinels: Cluster) -> None:
    sentinels.sentinels[A] = (D, "s_down,master")
    assert ask(sentinels, Router([A, B, C])) == [b"value"]


def test_a_sentinel_without_a_password_is_asked_without(sentinels: Cluster) -> None:
    as_sentinel: list[bool] = []
    real = sentinels._reply

    def reply(send: Send) -> list[object]:
        if send.to in sentinels.sentinels:
            as_sentinel.append(send.as_sentinel)
            if not send.as_sentinel:
                raise AuthenticationError("no password is set")
        assert send.to != D or not send.as_sentinel
        return real(send)

    sentinels._reply = reply  # type: ignore[method-assign]
    router = Router([A, B, C])
    assert ask(sentinels, router) == [b"value"]
    sentinels.now += BELIEVED
    assert ask(sentinels, router) == [b"value"]
    assert as_sentinel[:2] == [False, True]
    assert all(as_sentinel[1:])


# One server


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    return Cluster(monkeypatch, "standalone")


def test_one_server_is_seen_with_the_first_question(server: Cluster) -> None:
    router = Router([A])
    ask(server, router)
    server.now += 1000
    ask(server, router)
    assert server.asked == [(A, "INFO"), (A, "GET"), (A, "GET")]


@pytest.mark.parametrize(("mode", "refusal"), [
    ("standalone", NoPermissionError("no")), ("standalone", ResponseError("no cluster")), ("cluster", None),
])  # fmt: skip
def test_for_who_may_not_ask_what_it_is_only_a_cluster_has_slots(
    cluster: Cluster, mode: str, refusal: RedisError | None
) -> None:
    real = cluster._reply

    def reply(send: Send) -> list[object]:
        if send.commands[0][0] == "INFO":
            raise NoPermissionError("no")
        if send.commands[0][0] == "CLUSTER" and refusal is not None:
            raise refusal
        return real(send)

    cluster._reply = reply  # type: ignore[method-assign]
    assert ask(cluster, Router([A])) == [b"value"]
    assert cluster.questions() == [A if mode == "standalone" else OWNER]


def test_a_connection_that_was_closed_is_opened_once_more(server: Cluster) -> None:
    router = Router([A])
    ask(server, router)
    server.refused[A] = [RedisConnectionError("closed")]
    assert ask(server, router) == [b"value"]
    server.refused[A] = [RedisConnectionError("closed")] * 3
    began = server.now
    with pytest.raises(UnavailableError):
        ask(server, router)
    assert (server.now, len(server.refused[A])) == (began, 1)


@pytest.mark.parametrize("error", [RedisTimeoutError, lambda: ResponseError("no")])
def test_anything_else_is_no_answer_at_once(server: Cluster, error: Failing) -> None:
    server.refused[A] = [error()] * 2
    with pytest.raises(UnavailableError):
        ask(server, Router([A]))
    assert len(server.refused[A]) == 1


def test_a_replica_with_its_primary_may_be_read_and_one_without_may_not(server: Cluster) -> None:
    server.roles[A] = b"slave"
    assert ask(server, Router([A])) == [b"value"]
    away = [b"slave", b"h", 1, b"connect", 0]
    steps = Router([NOWHERE], discovered=False).transaction(KEY, GET)
    next(steps)
    with pytest.raises(UnavailableError, match="lost its primary"):
        steps.send([[b"2", b"7"], away, b"value"])


def test_of_several_servers_the_primary_is_asked(server: Cluster) -> None:
    """Given a primary with a replica that are named both, when they change places, then the other one is asked."""
    router = Router([A, B])
    server.roles[A] = b"slave"
    assert ask(server, router) == [b"value"]
    server.roles = {B: b"slave"}
    assert ask(server, router) == [b"value"]
    server.away[A] = RedisConnectionError("gone")
    server.roles = {}
    assert ask(server, router) == [b"value"]
    assert [node for node, _ in groupby(server.questions())] == [B, A, B]
    server.roles = {B: b"slave"}
    with pytest.raises(UnavailableError):
        ask(server, router)


def test_a_given_client_is_asked_once_and_nothing_is_looked_up(server: Cluster) -> None:
    router = Router([A], discovered=False)
    server.refused[A] = [RedisConnectionError("closed")] * 2
    with pytest.raises(UnavailableError):
        ask(server, router)
    assert server.asked == [(A, "GET")]


def test_a_wrong_password_is_said_at_once(server: Cluster) -> None:
    server.away[A] = AuthenticationError("invalid username-password pair")
    with pytest.raises(UnavailableError, match="AuthenticationError: invalid"):
        ask(server, Router([A, B]))
    assert {node for node, _ in server.asked} == {A}
