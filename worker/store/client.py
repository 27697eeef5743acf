"""The one way in which scripts and commands are run, on one server as on the nodes of a cluster."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from typing import NamedTuple, TypeAlias, TypeGuard, cast

from redis import Redis
from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterDownError,
    MovedError,
    NoPermissionError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from worker.store.topology import (
    Argument,
    Engine,
    Exchange,
    Node,
    Reply,
    Servers,
    SilentError,
    StaleError,
    Topology,
    Transaction,
    Words,
    slot_of,
)
from worker.store.urls import ENCODE

__all__ = [
    "Answers",
    "Argument",
    "Call",
    "Client",
    "Command",
    "Reply",
    "ScriptCall",
    "StoreError",
    "Transactions",
    "connect",
]

GROUP = 64
"""Commands sent in one transaction. A server that syncs before it answers does so after every 16 KiB that it reads, but
once for a transaction: that halves the time of a batch. A long one would keep others waiting."""
GROUP_WORDS = 12_000
"""Keys and arguments of one transaction, unless one call has more: what a script does grows with them. A full batch of the
first lane fits."""
REDIRECTIONS = 5
"""How often what has moved is followed at once."""
LOOK_AGAIN_SECONDS = 0.02
"""How long nobody looks at the streams of a cluster after they had nothing new."""
LOOK_EACH_SECONDS = 0.000_1
"""And for each stream this much longer: with a thousand, ten times a second."""
REPLICAS_MS = 2_000
"""How long replicas may take to have what was written: much less than a sender waits."""


class Replicas(NamedTuple):
    """How many replicas must have what is written, and how long they may take."""

    wanted: int = 0
    within_ms: int = REPLICAS_MS


NOBODY = Replicas()


class ScriptCall(NamedTuple):
    """One script to run."""

    script: str
    keys: Sequence[str]
    args: Sequence[Argument]


class Command(NamedTuple):
    """One plain command to run."""

    words: Words


Call: TypeAlias = ScriptCall | Command


class StoreError(Exception):
    """The store cannot be reached, or will not write. Nothing was acknowledged; try again later."""


def connect(url: str) -> Servers:
    """Whatever answers at a URL, with every timeout explicit. A command may run twice when a reply is lost; all our scripts
    allow that.
    """
    return Servers(url)


def _hint(error: RedisError) -> str:
    """A `%` before two digits is read as an escape, as it should be: only the server sees that it was not meant."""
    if isinstance(error, NoPermissionError):
        return " `tenure doctor`, as the operator's user, says what to grant"
    return (
        f" Is the password right, and percent-encoded? In a URL, {ENCODE}"
        if isinstance(error, AuthenticationError)
        else ""
    )


def _store_error(error: RedisError) -> StoreError:
    return StoreError(f"{type(error).__name__}: {error}{_hint(error)}")


def _scripts() -> dict[str, bytes]:
    """The source of every script; what several share goes before those that call it."""
    folder = files("worker.store").joinpath("lua")
    written = {
        path.name.removesuffix(".lua"): path.read_bytes() for path in folder.iterdir() if path.name.endswith(".lua")
    }
    shared = {f"{name[1:]}(".encode(): written.pop(name) for name in sorted(written) if name.startswith("_")}
    return {
        name: b"".join(part for call, part in shared.items() if call in source) + source
        for name, source in written.items()
    }


KEYLESS = frozenset({"TIME", "SCAN", "INFO", "PING", "CONFIG", "PUBLISH", "ROLE", "DBSIZE"})
"""Commands that name no key. They go where the first call goes that has one."""
KEY_AT = {"XINFO": 2, "MEMORY": 2, "OBJECT": 2}
"""Where commands have their first key, if not right after their name."""


def _key(call: Call) -> Argument | None:
    """The first key of a call; all of a call's keys are in one slot."""
    if isinstance(call, ScriptCall):
        return next((key for key in call.keys if key), None)
    name = call.words[0]
    if name in KEYLESS:
        return None
    if name == "XREAD":
        return call.words[call.words.index("STREAMS") + 1]
    return call.words[KEY_AT.get(cast("str", name), 1)]


def _size(call: Call) -> int:
    return len(call.keys) + len(call.args) if isinstance(call, ScriptCall) else len(call.words)


class _Group:
    """Calls of one slot that are run in one transaction; on one server, calls of any."""

    __slots__ = ("asking", "places", "slot", "words")

    def __init__(self, slot: int) -> None:
        self.slot = slot
        self.places: list[int] = []
        """Which calls, in their order."""
        self.words = 0
        self.asking: Node | None = None
        """The node to which the slot is moving, if what this is about is there already."""

    def has_room(self, words: int) -> bool:
        return len(self.places) < GROUP and self.words + words <= GROUP_WORDS


class _Left(NamedTuple):
    """A group that is not done, and why."""

    group: _Group
    node: Node
    error: RedisError
    at_once: bool
    """Whether it can be done now: it is known where, or with what."""


class TooFewReplicasError(RedisError):
    """It was written, but not on as many replicas as it should be."""


AGAIN = (AskError, NoScriptError, TryAgainError, ClusterDownError, ReadOnlyError)
"""What a node answers that is not, not yet or no longer the one to ask, or lacks the scripts."""
ELSEWHERE = "access a non local key in a cluster node"
"""What a script answers that found a key by what another says, where that key has gone to another node already while its slot
moves (`scriptVerifyClusterState` in src/script.c of Valkey)."""


class Client:
    """Runs scripts and commands in groups: one round trip and one sync for each group of a node."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self._sources = _scripts()
        self._shas = {name: hashlib.sha1(source).hexdigest() for name, source in self._sources.items()}  # noqa: S324 - the protocol's choice

    @property
    def redis(self) -> Redis:
        """redis-py's own client."""
        return self.topology.redis()

    def following(self, key: str) -> Redis:
        """redis-py's own client of the node that has a key, or a channel, wherever that goes: for subscriptions."""
        return self.topology.following(slot_of(key))

    def node_of(self, key: str) -> str:
        """The name of the node that has a key now; empty if nobody says."""
        try:
            return self.topology.owner(slot_of(key)).name
        except RedisError:
            return ""

    @property
    def apart(self) -> bool:
        """Whether a part of the store may be reached while another cannot be."""
        try:
            return self.topology.engine is Engine.CLUSTER
        except RedisError:
            return False

    def close(self) -> None:
        self.topology.close()

    def run(self, calls: Sequence[Call], *, atomic: bool = False) -> list[Reply]:
        """Run all of them and return a reply for each; those of a slot are run in order.

        `atomic`: all or none, with nobody's commands in between. Their keys are in one slot.

        Raises:
            StoreError: a node could not be reached, or refused one of them. With `atomic` none was done; without, some may
                have been.
            ValueError: with `atomic`, their keys are in several slots of a cluster.
        """
        if (
            atomic
            and self.apart
            and len({slot_of(cast("str", key)) for call in calls if (key := _key(call)) is not None}) > 1
        ):
            raise ValueError("what is done all or none is in one slot")
        return _done(self._run(calls, whole=atomic))

    def answered(self, calls: Sequence[Call]) -> list[Reply]:
        """Run all of them, with nobody's commands in between those of a slot; one that was refused has its error in place of a
        reply.

        Raises:
            StoreError: a node could not be reached.
        """
        replies = self._run(calls, whole=True)
        _done([reply for reply in replies if _is_unreached(reply)])
        return replies

    def reached(self, calls: Sequence[Call]) -> list[Reply]:
        """Run them where their node can be reached, and return None for each of the others.

        Raises:
            StoreError: no node could be reached, or one refused.
        """
        replies = self._run(calls, whole=False)
        if all(map(_is_unreached, replies)):
            return _done(replies)
        return _done([None if _is_unreached(reply) else reply for reply in replies])

    def write(self, calls: Sequence[Call], replicas: Replicas = NOBODY) -> list[Reply]:
        """Run all of them, those of a slot in one transaction, however many they are; return when at least so many replicas
        of each node that was written have it, too. What was not done, or not on so many, has its error in place of a
        reply; whoever asked asks again.

        Raises:
            StoreError: nobody says where it is to be written.
        """
        replies = self._run(calls, whole=True, replicas=replicas)
        return [_store_error(reply) if isinstance(reply, RedisError) else reply for reply in replies]

    def one(self, call: Call) -> Reply:
        """Run one of them."""
        return self.run([call])[0]

    def follow(self, streams: Mapping[str, str], count: int, block_ms: int) -> list[tuple[bytes, list[Reply]]]:
        """What comes after an entry of each stream, at most `count` of each; if there is nothing, what comes within `block_ms`.
        A cluster's streams are looked at again and again, since no command waits for those of several slots; what is on a
        node that cannot be reached comes later.

        Raises:
            StoreError: the store cannot be reached.
        """
        if self.topology.engine is not Engine.CLUSTER:
            words: Words = ("XREAD", "COUNT", count, "BLOCK", block_ms, "STREAMS", *streams, *streams.values())
            return cast("list[tuple[bytes, list[Reply]]]", self.one(Command(words)) or [])
        until = time.monotonic() + block_ms / 1000
        looks = [Command(("XREAD", "COUNT", count, "STREAMS", *stream)) for stream in streams.items()]
        while True:
            found = [each for reply in self.reached(looks) if isinstance(reply, list) for each in reply]
            if found or time.monotonic() >= until:
                return found
            time.sleep(LOOK_AGAIN_SECONDS + LOOK_EACH_SECONDS * len(looks))

    def keys(self, pattern: str, page: int) -> Iterator[list[bytes]]:
        """All keys that fit, about so many at a time. One may come twice, and one that is made meanwhile not at all.

        Raises:
            StoreError: a node could not be reached, or nobody says which they are.
        """
        while True:
            moves = self._looked()
            for node in self._primaries():
                cursor: int | bytes = 0
                while True:
                    (reply,) = _done(self._at([node], ("SCAN", cursor, "MATCH", pattern, "COUNT", page)))
                    cursor, found = cast("tuple[int | bytes, list[bytes]]", reply)
                    yield found
                    if int(cursor) == 0:
                        break
            # What moved meanwhile may have left a node that was still to be asked.
            if self._looked() == moves:
                return

    def _looked(self) -> int:
        """How often something has moved until now."""
        try:
            self.topology.look(self.topology.version)
        except RedisError as error:
            raise _store_error(error) from error
        return self.topology.moves

    def each(self, *words: Argument) -> dict[str, Reply]:
        """Run a command on every primary: name of the node → its reply, or the error that it is.

        Raises:
            StoreError: nobody says which they are.
        """
        nodes = self._primaries()
        return dict(zip((node.name for node in nodes), self._at(nodes, words), strict=True))

    def admitting(self) -> dict[str, bool | RedisError]:
        """Of every primary, whether it answers somebody without a password, or why it cannot be reached.

        Raises:
            StoreError: nobody says which they are.
        """
        found: dict[str, bool | RedisError] = {}
        for node in self._primaries():
            try:
                found[node.name] = node.admits()
            except RedisError as error:
                found[node.name] = error
        return found

    def _primaries(self) -> Sequence[Node]:
        try:
            return self.topology.primaries()
        except RedisError as error:
            raise _store_error(error) from error

    @staticmethod
    def _at(nodes: Sequence[Node], words: Words) -> list[Reply]:
        """What each of these nodes answers."""
        answers = _exchanged({node: [Transaction([words])] for node in nodes})
        return [answer if isinstance(answer, RedisError) else answer[0][0] for answer in answers.values()]

    # How it is done

    def _run(self, calls: Sequence[Call], *, whole: bool, replicas: Replicas = NOBODY) -> list[Reply]:
        """The reply to each call, an error where there is none. `whole`: those of a slot are one transaction, however many."""
        replies: list[Reply] = [None] * len(calls)
        lost: dict[Node, RedisError] = {}
        try:
            waiting = list(self._groups(calls, whole=whole)) if calls else []
            while waiting:
                groups, waiting = (waiting, []) if whole else self._together(waiting)
                for group, node, error, _ in self._settle(calls, groups, replies, replicas):
                    _fail(replies, group, error)
                    if _is_unreached(error):
                        lost[node] = error
                # Nobody is asked again and again who cannot be reached.
                for group in [each for each in waiting if self.topology.owner(each.slot) in lost]:
                    _fail(replies, group, lost[self.topology.owner(group.slot)])
                    waiting.remove(group)
        except RedisError as error:
            raise _store_error(error) from error
        return replies

    def _groups(self, calls: Sequence[Call], *, whole: bool) -> Iterator[_Group]:
        """The calls, as many together as one transaction may have: those of a slot, and on one server of any."""
        apart = self.topology.engine is Engine.CLUSTER
        keys = [_key(call) for call in calls] if apart else []
        anywhere = next((key for key in keys if key is not None), "")
        groups: dict[int, _Group] = {}
        for place, call in enumerate(calls):
            key = keys[place] if apart else None
            slot = slot_of(cast("str", anywhere if key is None else key)) if apart else 0
            group, size = groups.get(slot), _size(call)
            if group is not None and not whole and not group.has_room(size):
                yield groups.pop(slot)
                group = None
            if group is None:
                group = groups[slot] = _Group(slot)
            group.places.append(place)
            group.words += size
        yield from groups.values()

    def _together(self, waiting: Sequence[_Group]) -> tuple[list[_Group], list[_Group]]:
        """What is sent now, to each node at most what one transaction may have, and what afterwards."""
        now: list[_Group] = []
        later: list[_Group] = []
        room: dict[Node, _Group] = {}
        full: set[Node] = set()
        for group in waiting:
            node = self.topology.owner(group.slot)
            taken = room.setdefault(node, _Group(0))
            if node in full or (taken.places and not taken.has_room(group.words)):
                full.add(node)
                later.append(group)
                continue
            taken.places += group.places
            taken.words += group.words
            now.append(group)
        return now, later

    def _settle(
        self, calls: Sequence[Call], groups: Sequence[_Group], replies: list[Reply], replicas: Replicas
    ) -> list[_Left]:
        """Run these groups, wherever their slots go meanwhile; returns those that could not be."""
        pauses, redirections = iter(self.topology.pauses), REDIRECTIONS
        failed: list[_Left] = []
        while True:
            version = self.topology.version
            left = self._attempt(calls, groups, replies, replicas)
            failed += [each for each in left if _is_final(each.error)]
            left = [each for each in left if not _is_final(each.error)]
            if not left:
                return failed
            if redirections > 0 and all(each.at_once for each in left):
                redirections -= 1
            else:
                pause = next(pauses, None)
                if pause is None:
                    for each in left:
                        if _is_unreached(each.error):
                            self.topology.lost(each.node)
                    return failed + left
                time.sleep(pause)
                with contextlib.suppress(RedisError):
                    self.topology.look(version)
            groups = [each.group for each in left]

    def _attempt(
        self, calls: Sequence[Call], groups: Sequence[_Group], replies: list[Reply], replicas: Replicas
    ) -> list[_Left]:
        """Run these groups where their slots are; returns those that were not done."""
        nodes: dict[Node, list[_Group]] = {}
        for group in groups:
            nodes.setdefault(group.asking or self.topology.owner(group.slot), []).append(group)
        answers = _exchanged(
            {node: [self._transaction(calls, x) for x in own] for node, own in nodes.items()}, replicas
        )
        left: list[_Left] = []
        for node, own in nodes.items():
            answer = answers[node]
            if isinstance(answer, RedisError):
                left += [_Left(group, node, answer, isinstance(answer, StaleError)) for group in own]
                continue
            for group, found in zip(own, answer, strict=True):
                group.asking = None
                error = next(filter(_is_elsewhere, found), None)
                if error is None:
                    for place, reply in zip(group.places, found, strict=True):
                        replies[place] = reply
                else:
                    # Nothing was done of it, or scripts were refused, which may run again.
                    left.append(_Left(group, node, error, self._redirected(group, node, error)))
        lacking = {each.node for each in left if isinstance(each.error, NoScriptError)}
        if lacking:
            self._load(lacking)
        return left

    def _load(self, nodes: Iterable[Node]) -> None:
        """Give nodes the scripts: they were started anew, or took over from others."""
        loads = [Transaction([("SCRIPT", "LOAD", source)]) for source in self._sources.values()]
        _exchanged(dict.fromkeys(nodes, loads))

    def _redirected(self, group: _Group, node: Node, error: RedisError) -> bool:
        """Whether it is known now how a group can be run."""
        if not isinstance(error, AskError):
            return isinstance(error, NoScriptError)
        # A node that does not know its own host leaves it out.
        name = f"{error.host or node.name.rpartition(':')[0]}:{error.port}"
        if isinstance(error, MovedError):
            self.topology.moved(group.slot, name)
        else:
            group.asking = self.topology.node(name)
        return True

    def _transaction(self, calls: Sequence[Call], group: _Group) -> Transaction:
        return Transaction([self._words(calls[place]) for place in group.places], group.asking is not None)

    def _words(self, call: Call) -> Words:
        if isinstance(call, ScriptCall):
            return ("EVALSHA", self._shas[call.script], len(call.keys), *call.keys, *call.args)
        return call.words


Transactions: TypeAlias = Mapping[Node, Sequence[Transaction]]
Answers: TypeAlias = dict[Node, list[list[Reply]] | RedisError]


def _exchanged(transactions: Transactions, replicas: Replicas = NOBODY) -> Answers:
    """One round trip with each node, all at the same time: node → the replies to its transactions, or why there are none."""
    exchanges: dict[Node, Exchange] = {}
    found: Answers = {}
    for node, sent in transactions.items():
        try:
            exchanges[node] = node.exchange()
            exchanges[node].send(sent, *replicas)
        except RedisError as error:
            found[node] = error
    for node, exchange in exchanges.items():
        if node in found:
            continue
        try:
            answers, have = exchange.receive()
        except RedisError as error:
            found[node] = error
        else:
            found[node] = _confirmed(answers, have, replicas, node)
    return {node: found[node] for node in transactions}


def _confirmed(
    answers: list[list[Reply]], have: int | ResponseError, replicas: Replicas, node: Node
) -> list[list[Reply]]:
    """The replies to a node's transactions: that too few replicas have it, in place of those of one that was done. One that was
    refused, because its slot is elsewhere now, says so.
    """
    if not isinstance(have, ResponseError) and have >= replicas.wanted:
        return answers
    told = have if isinstance(have, ResponseError) else f"{have} of its replicas, of {replicas.wanted} that should"
    few = TooFewReplicasError(f"{node.name} has it, and {told}")
    return [found if any(map(_is_elsewhere, found)) else [few] * len(found) for found in answers]


def _is_unreached(reply: Reply) -> bool:
    return isinstance(reply, RedisError) and not isinstance(reply, ResponseError)


def _is_elsewhere(reply: Reply) -> TypeGuard[RedisError]:
    """Whether it has to be asked for at another place, or once more."""
    return isinstance(reply, AGAIN) or (isinstance(reply, ResponseError) and ELSEWHERE in str(reply))


def _is_final(error: RedisError) -> bool:
    """Whether there is no use in another attempt. Waiting once more for what does not answer only adds to its load."""
    passes = isinstance(error, RedisConnectionError) or _is_elsewhere(error)
    return not passes or isinstance(error, AuthenticationError | SilentError)


def _fail(replies: list[Reply], group: _Group, error: RedisError) -> None:
    for place in group.places:
        replies[place] = error


def _done(replies: list[Reply]) -> list[Reply]:
    """
    Raises:
        StoreError: one of them is an error.
    """
    for reply in replies:
        if isinstance(reply, RedisError):
            raise _store_error(reply) from reply
    return replies
