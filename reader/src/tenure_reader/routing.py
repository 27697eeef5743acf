"""Who is asked, and what is done when nobody answers there: the same for one server, Sentinels and a cluster. No I/O: what is to
be sent is given, and the replies, or the error, are taken.

A primary is believed for as long as somebody else said within the last second that it is one. One that was away while another
took its place does not know that yet when it is back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from typing import Literal, NamedTuple, TypeAlias, TypeVar, cast

from tenure_reader.times import SECOND, Micros
from tenure_reader.topology import (
    Address,
    NodeMap,
    UncoveredError,
    cluster_of,
    kind_of,
    one_server,
    slot_of,
    text_of,
    watched_by,
)

Command: TypeAlias = tuple[str | int, ...]
ResultT = TypeVar("ResultT")

LIMIT = 2.0
"""Seconds in which a question is asked again, where it was not answered. The last time may wait for an answer for as long."""
BELIEVED = 1.0
"""Seconds for which somebody's word counts that a node is a primary."""
PAUSES = (0.01, 0.2)
"""Seconds between two attempts: at first, and at most."""
OPINIONS = 4
"""Nodes that are asked one after the other who is a primary, until one is that another one names."""
SERVER: tuple[Command, ...] = (("TIME",), ("ROLE",))
"""What the server says of itself, before the answers to any question."""


class UnavailableError(Exception):
    """Nothing can be decided: the store cannot be reached, does not answer in time, is a replica that has lost its primary,
    or holds what cannot be read.

    Refuse the token for now, and let its bearer try again.
    """


FailureKind: TypeAlias = Literal["away", "silent", "moved", "moving", "passing", "login", "forbidden", "refused"]
"""`away`: no connection; `silent`: no answer in time; `moved`: another node has the slot; `moving`: keys of the slot are on their
way to another node; `passing`: it may be over in a moment;
`login`: the user or the password is none; `forbidden`: the user may not; `refused`: anything else."""


class NodeError(Exception):
    """A node gave no answer, or refused it."""

    def __init__(self, kind: FailureKind, told: str, to: Address | None = None) -> None:
        """`to`: where the key is that is not here any more."""
        super().__init__(told)
        self.kind = kind
        self.to = to


class Send(NamedTuple):
    """What to send to one node, in one round trip."""

    to: Address
    commands: Sequence[Command]
    atomic: bool = True
    """In one transaction."""
    brief: bool = False
    """It is no question to the store, and somebody else can be asked: it must not take long."""
    lenient: bool = False
    """The NodeError of a command that is refused stands in the place of its reply."""
    as_sentinel: bool = False
    """As who the reader is to Sentinels, where that is not who it is to the servers."""


class Pause(NamedTuple):
    seconds: float


Steps: TypeAlias = Generator[Send | Pause, list[object], ResultT]
"""Takes the replies to what is sent, or has the NodeError thrown into it."""


class DatedReplies(NamedTuple):
    """To a question that was asked in one transaction."""

    at: Micros
    """By the clock of who answered."""
    replies: list[object]


class Router:
    """Knows who has which keys. Threads may share it: what it knows is replaced, and not changed."""

    def __init__(self, seeds: Sequence[Address], primary: str | None = None, *, discovered: bool = True) -> None:
        """`primary`: what Sentinels call it, if they watch over several. `discovered`: False for one server that is to be asked
        without looking what it is, by a client that repeats by itself what it likes.
        """
        self._seeds = tuple(seeds)
        self._primary = primary
        self._discovers = discovered
        self._topology = None if discovered else one_server(self._seeds[0])
        self._told: dict[Address, tuple[NodeMap, float]] = {}
        """What each node or Sentinel said last, and until when, by the monotonic clock, that counts."""
        self._failed: dict[Address, float] = {}
        """When a node last gave no answer."""
        self._silent: dict[Address, float] = {}
        """Until when a node is not asked, since it did not answer in time."""
        self._as_sentinel = False
        """The Sentinels know the reader otherwise than the servers do."""

    # Questions

    def transaction(self, key: str, commands: Sequence[Command], *, witness: str | None = None) -> Steps[DatedReplies]:
        """Ask about keys that are in the slot of `key`.

        `witness`: a stream in that slot, to which every change of these keys adds an entry. While the slot's keys are on their
        way to another node, no transaction can have them; then each command, which has one key, is asked where that is, and the
        replies count if nothing was added meanwhile.

        Raises:
            UnavailableError: nobody answers in time who may.
        """

        def ask() -> Steps[DatedReplies]:
            topology, address = yield from self._located(slot_of(key))
            if time.monotonic() < self._silent.get(address, 0.0):
                # Whoever waits holds up others, whose answers are elsewhere.
                raise NodeError("silent", f"{address} did not answer a moment ago")
            try:
                now, role, *replies = yield from self._sent(Send(address, [*SERVER, *commands]))
            except NodeError as error:
                if error.kind != "moving" or witness is None:
                    raise
                now, role, *replies = yield from self._gathered(address, commands, witness)
            self._judge(topology, address, role)
            return DatedReplies(moment(now), replies)

        return (yield from self._tried(ask))

    def _gathered(self, address: Address, commands: Sequence[Command], witness: str) -> Steps[list[object]]:
        """The same replies, of one moment, from a node and the one to which the slot moves."""
        last: Command = ("XREVRANGE", witness, "+", "-", "COUNT", 1)
        (before,) = yield from self._wherever(address, [last])
        replies = yield from self._wherever(address, [*SERVER, *commands])
        (after,) = yield from self._wherever(address, [last])
        if before != after:
            raise NodeError("passing", "something was published while keys were on their way to another node")
        return replies

    def _wherever(self, address: Address, commands: Sequence[Command]) -> Steps[list[object]]:
        """Each by itself, at a node or where that says that the key is."""
        replies = yield from self._sent(Send(address, commands, atomic=False, lenient=True))
        away: dict[Address, list[int]] = {}
        for number, reply in enumerate(replies):
            if isinstance(reply, NodeError):
                if reply.to is None:
                    raise reply
                # A node that does not know its own host leaves it out.
                away.setdefault(reply.to._replace(host=reply.to.host or address.host), []).append(number)
        for target, numbers in away.items():
            asked: list[Command] = [words for number in numbers for words in (("ASKING",), commands[number])]
            found = yield from self._sent(Send(target, asked, atomic=False))
            for number, reply in zip(numbers, found[1::2], strict=True):
                replies[number] = reply
        return replies

    def each(self, asked: Sequence[tuple[str, Command]]) -> Steps[list[object]]:
        """Ask about one key by each command, wherever it is. The replies are not of one moment.

        Raises:
            UnavailableError: nobody answers in time who may.
        """

        def ask() -> Steps[list[object]]:
            replies: list[object] = [None] * len(asked)
            there: dict[tuple[NodeMap, Address], list[int]] = {}
            for number, (key, _) in enumerate(asked):
                there.setdefault((yield from self._located(slot_of(key))), []).append(number)
            for (topology, address), numbers in there.items():
                commands = [SERVER[1], *(asked[number][1] for number in numbers)]
                role, *found = yield from self._sent(Send(address, commands, atomic=False))
                self._judge(topology, address, role)
                for number, reply in zip(numbers, found, strict=True):
                    replies[number] = reply
            return replies

        return (yield from self._tried(ask))

    def topology(self, slots: Collection[int]) -> Steps[NodeMap]:
        """As it is now; who has these slots is confirmed by somebody else.

        Raises:
            UnavailableError: nobody tells.
        """

        def ask() -> Steps[NodeMap]:
            self._told = {}
            topology = self._topology or (yield from self._discovered())
            for _ in range(OPINIONS):
                doubtful = [slot for slot in slots if not self._believes(topology, slot)]
                if not doubtful:
                    return topology
                topology = yield from self._confirmed(topology, topology.primary(doubtful[0]))
            raise NodeError("passing", "the nodes do not agree about who has which slots")

        return (yield from self._tried(ask))

    @property
    def known(self) -> set[Address]:
        """Who may be asked something."""
        return {
            *self._seeds,
            *(self._topology.primaries if self._topology else ()),
            *(self._topology.others if self._topology else ()),
        }

    @property
    def alone(self) -> bool:
        """It is one server, whatever becomes of it."""
        return len(self._seeds) == 1 and self._topology is not None and self._topology.kind == "server"

    def _judge(self, topology: NodeMap, address: Address, role: object) -> None:
        """What ROLE answered. A server that is named alone may be a replica, if it hears its primary.

        Raises:
            NodeError: it is not who it was taken for.
            UnavailableError: it is a replica that has lost its primary.
        """
        if topology.kind == "server" and len(self._seeds) == 1:
            has_primary(role)
        elif text_of(cast("Sequence[object]", role)[0]) != "master":
            self._told = {}
            if topology.kind == "server":
                self._topology = None
            raise NodeError("passing", f"{address} is no primary any more")

    def _tried(self, ask: Callable[[], Steps[ResultT]]) -> Steps[ResultT]:
        """Ask until it is answered, or the time is over."""
        end = time.monotonic() + LIMIT
        for pause in _pauses():
            try:
                return (yield from ask())
            except (NodeError, UncoveredError, ValueError) as error:
                # The first pause is none: an idle connection may have been closed.
                if not self._again(error, first=not pause) or time.monotonic() + pause >= end:
                    raise UnavailableError(str(error)) from error
            if pause:
                yield Pause(pause)
        raise AssertionError("pauses have no end")

    def _again(self, error: Exception, *, first: bool) -> bool:
        """Whether it may be answered if it is asked again."""
        kind = error.kind if isinstance(error, NodeError) else "passing"
        if isinstance(error, UncoveredError):
            # Somebody may have it by now.
            self._topology = None
        if not self._discovers or kind == "login":
            return False
        if kind != "passing" and self._topology is not None and self._topology.kind == "server":
            # Another of several servers may be the primary now, or this one a node of a cluster.
            self._topology = None if kind == "moved" or len(self._seeds) > 1 else self._topology
        if len(self._seeds) == 1 and (self._topology is None or self._topology.kind == "server"):
            return first and kind in ("away", "moved")
        return kind not in ("silent", "forbidden", "refused")

    def _sent(self, send: Send) -> Steps[list[object]]:
        try:
            replies = yield send
        except NodeError as error:
            if error.kind in ("away", "silent"):
                self._failed = {**self._failed, send.to: time.monotonic()}
            if error.kind == "silent" and not send.brief and not self.alone:
                self._silent = {**self._silent, send.to: time.monotonic() + BELIEVED}
            # Whatever was said of it may be over.
            self._told = {}
            raise
        self._failed = _without(self._failed, send.to)
        self._silent = _without(self._silent, send.to)
        return replies

    # Who has which keys

    def _located(self, slot: int) -> Steps[tuple[NodeMap, Address]]:
        topology = self._topology or (yield from self._discovered())
        for _ in range(OPINIONS):
            address = topology.primary(slot)
            if self._believes(topology, slot):
                return topology, address
            topology = yield from self._confirmed(topology, address)
        raise NodeError("passing", f"the nodes do not agree about who has slot {slot}")

    def _believes(self, topology: NodeMap, slot: int) -> bool:
        """Whether somebody else said a moment ago who has the slot. A cluster of one node has nobody else."""
        if topology.kind == "server":
            return True
        address, now = topology.primary(slot), time.monotonic()
        return any(
            now < until and said.has(slot, address) and (teller != address or said.everybody == (address,))
            for teller, (said, until) in self._told.items()
        )

    def _discovered(self) -> Steps[NodeMap]:
        refused: Exception | None = None
        for address in self._in_turn(self._seeds):
            try:
                return (yield from self._seen(address))
            except (NodeError, ValueError) as error:
                if isinstance(error, NodeError) and error.kind == "login":
                    raise
                refused = error
        raise refused or NodeError("away", "no address is known of the store")

    def _seen(self, address: Address) -> Steps[NodeMap]:
        """What answers at an address that somebody wrote. Of several servers, the primary is meant."""
        kind = yield from self._kind(address)
        if kind == "server":
            if len(self._seeds) > 1:
                (role,) = yield from self._sent(Send(address, [SERVER[1]], atomic=False, brief=True))
                if text_of(cast("Sequence[object]", role)[0]) != "master":
                    raise NodeError("passing", f"{address} is no primary")
            self._topology = one_server(address)
            return self._topology
        topology = yield from self._asked(kind, address)
        if kind == "cluster" and len(topology.everybody) > 1:
            # It may have another name here than there, and does not speak for itself.
            self._told = _without(self._told, address)
        return topology

    def _kind(self, address: Address) -> Steps[str]:
        question = Send(address, [("INFO", "server")], atomic=False, brief=len(self._seeds) > 1)
        try:
            (info,) = yield from self._sent(question)
        except NodeError as error:
            if error.kind == "forbidden":
                return (yield from self._kind_without_info(address))
            if error.kind != "login":
                raise
            # A Sentinel may have no users where the servers have some, or others.
            try:
                (info,) = yield from self._sent(question._replace(as_sentinel=True))
            except NodeError:
                raise error from None
            if kind_of(info) != "sentinel":
                raise
            self._as_sentinel = True
        return kind_of(info)

    def _kind_without_info(self, address: Address) -> Steps[str]:
        """For a user who may not ask for INFO: only a cluster has slots."""
        try:
            yield from self._sent(Send(address, [("CLUSTER", "SLOTS")], atomic=False, brief=True))
        except NodeError as error:
            if error.kind in ("forbidden", "refused"):
                return "server"
            raise
        return "cluster"

    def _confirmed(self, topology: NodeMap, address: Address) -> Steps[NodeMap]:
        """What somebody else says."""
        tellers = [teller for teller in topology.everybody if teller != address] or [address]
        refused: Exception | None = None
        for teller in self._in_turn(tellers):
            try:
                return (yield from self._asked(topology.kind, teller))
            except (NodeError, ValueError) as error:
                refused = error
        # Those that were named at first may know of others.
        self._topology = None
        raise NodeError("passing", f"nobody confirms that {address} is a primary: {refused}")

    def _asked(self, kind: str, teller: Address) -> Steps[NodeMap]:
        until = time.monotonic() + BELIEVED
        if kind == "sentinel":
            question = Send(teller, [("SENTINEL", "MASTERS")], atomic=False, brief=True, as_sentinel=self._as_sentinel)
            (reply,) = yield from self._sent(question)
            topology = watched_by(reply, self._primary, self._seeds)
        else:
            (reply,) = yield from self._sent(Send(teller, [("CLUSTER", "SLOTS")], atomic=False, brief=True))
            topology = cluster_of(reply, teller)
        known = {*topology.everybody, *self._seeds}
        self._told = {node: said for node, said in self._told.items() if node in known} | {teller: (topology, until)}
        self._failed = {node: at for node, at in self._failed.items() if node in known}
        self._silent = {node: until for node, until in self._silent.items() if node in known}
        self._topology = topology
        return topology

    def _in_turn(self, addresses: Sequence[Address]) -> list[Address]:
        """Those first that answered; of the others, who has been away longest."""
        return sorted(addresses, key=lambda address: self._failed.get(address, 0.0))


def has_primary(reply: object) -> None:
    """What ROLE answered: a primary, or a replica that hears its own.

    Raises:
        UnavailableError: a replica that does not: what it holds may have been taken back since.
    """
    role = cast("Sequence[object]", reply)
    if text_of(role[0]) == "slave" and text_of(role[3]) != "connected":
        raise UnavailableError("the replica that is read has lost its primary; it answers again when it has found it")


def moment(reply: object) -> Micros:
    """What TIME answered."""
    seconds, micros = cast("tuple[int | bytes, int | bytes]", reply)
    return int(seconds) * SECOND + int(micros)


def _without(known: dict[Address, ResultT], address: Address) -> dict[Address, ResultT]:
    if address not in known:
        return known
    return {each: value for each, value in known.items() if each != address}


def _pauses() -> Iterator[float]:
    yield 0.0
    pause, longest = PAUSES
    while True:
        yield pause
        pause = min(pause * 2, longest)
