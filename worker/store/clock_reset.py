"""After the store's clock was far ahead for a while: date everything as it would be, had it not been.

Time never goes back by itself. What was dated while the clock was ahead is newer than all that is told for as long as time
needs to be there, and what waits until then waits. So an operator may reset it: time goes by the clock again, and whatever
was dated beyond that is dated earlier by what time was ahead, in the order that it had.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final, cast

from worker.lifecycle.facts import HOUR, SECOND, Micros, ObservationSource, shifted, subject
from worker.lifecycle.owners import ALIAS
from worker.lifecycle.policy import Policy, advance, redated
from worker.lifecycle.rules import Rules
from worker.store import keys
from worker.store.audit import act, record_call
from worker.store.client import Client, Command, ScriptCall
from worker.store.codec import decode_fact, encode_fact
from worker.store.keys import Keyspace
from worker.store.logins import WRITTEN
from worker.store.policies import Commit, Policies, remembered_rank
from worker.store.replies import fields, scored
from worker.store.status import Status

ACTION: Final = "clock.reset"
LEAST: Micros = HOUR
"""Time that is ahead by less catches up soon enough by itself."""
TOLERANCE: Micros = 600 * SECOND
"""A sender's date may be so much ahead of a clock that is right."""
PASSES = 10
SETTLED: Micros = 6 * SECOND
"""After so long, nobody works on what was begun before."""
PAGE = 1000

_PARTITION = r"tenure:\{p\d+\}:"
_OWN = r"tenure:\{all\}:"
_GITHUB = rf"tenure:(\{{all\}}:github|\{{github/{ALIAS}\}}):"
_WAITING = re.compile(
    rf"({_PARTITION}(inbox:waiting:.+|inbox:dead|(checks|checking|owners)(:{ALIAS})?|counted)"
    rf"|{_GITHUB}(missing|suspects|lost|asked-owners|losing-owners)|{_OWN}alive:.+|{_OWN}replays)"
)
"""Sorted sets, by moments."""
_NOTED = re.compile(rf"({_PARTITION}(wanted|owner):.+|{_OWN}job:.+|{_GITHUB}(installations-doubted|breaker|trouble))")
"""Hashes, some of whose fields are moments."""
_EVENT = re.compile(rf"{_PARTITION}inbox:event:.+")
_EVENT_DATES = ("received_at", "occurred_at")
_REMEMBERED = re.compile(rf"{_PARTITION}observed:.+")
_COUNTED = re.compile(rf"{_PARTITION}logins:.+")
"""Hashes of logins: how often, first and last."""
_READ = re.compile(rf"{_GITHUB}installations-at|{_OWN}ledger-since|{_PARTITION}ledger-since")
_SHORT_LIVED = re.compile(rf"({_OWN}hold:.+|{_PARTITION}inbox:rung:.+)")
"""They expire by the server's clock, which was another when that was set."""


class ClockReset:
    """Finds what is dated ahead of the store's clock, and dates it anew."""

    def __init__(self, client: Client, status: Status, policies: Policies, rules: Rules) -> None:
        self._client = client
        self._keyspace: Keyspace = policies.keyspace
        self._status = status
        self._policies = policies
        self._rules = rules

    def ahead(self) -> Micros:
        """By how much time is ahead, or was when a reset began that is not finished; 0 if there is nothing to reset."""
        unfinished = cast("bytes | None", self._client.one(Command(("GET", keys.CLOCK_RESET))))
        ahead = self._status.ahead()
        return ahead if ahead >= LEAST else int(unfinished or b"0")

    def offset(self) -> Counter[str]:
        """How much there is that a reset would date anew, by what it is."""
        return self._pass(self.ahead(), "", apply=False)

    def reset(self, *, by: str, reason: str, pause: Callable[[Micros], None]) -> Counter[str]:
        """Do it, and return how much was dated anew. `pause`: wait so long, until what others had begun is done.

        Raises:
            StoreError: the store could not be reached; called again, it goes on.
        """
        offset = self.ahead()
        # Before time goes back: whoever ends in between leaves how much is to be dated anew.
        written = act(ACTION, by, reason, (), {"ahead_seconds": offset // SECOND})
        self._client.run([Command(("SET", keys.CLOCK_RESET, offset)), record_call(written)], atomic=True)
        dates = [(keys.CLOCK,), *((partition.clock, partition.stamp) for partition in self._keyspace.all())]
        self._client.run([ScriptCall("reset_time", where, ()) for where in dates])
        done: Counter[str] = Counter()
        for number in range(PASSES):
            redone = self._pass(offset, f"{by}@{self._status.now()}", apply=True)
            done += redone
            if number and not redone:
                break
            pause(SETTLED)
        self._client.one(Command(("DEL", keys.CLOCK_RESET)))
        return done

    def _pass(self, by: Micros, cause: str, *, apply: bool) -> Counter[str]:
        counts: Counter[str] = Counter()
        limit = self._status.times().clock + TOLERANCE
        for listed in self._policies.listed():
            if listed.policy is not None and self._policy(listed.policy, by, limit, cause, apply=apply):
                counts["policies"] += 1
        for key in self._keys():
            for pattern, name, calls_of in (
                (_WAITING, "waiting", self._scores),
                (_NOTED, "noted", self._moments),
                (_EVENT, "events", self._event),
                (_REMEMBERED, "remembered", self._observed),
                (_COUNTED, "noted", self._counts),
                (_READ, "noted", self._string),
                (_SHORT_LIVED, "waiting", self._expiry),
            ):
                if pattern.fullmatch(key):
                    calls = calls_of(key, by, limit)
                    counts[name] += len(calls)
                    if apply:
                        self._client.run(calls)
        return +counts

    def _keys(self) -> Iterator[str]:
        for names in self._client.keys("tenure:*", PAGE):
            yield from (key.decode(errors="replace") for key in names)

    def _policy(self, policy: Policy, by: Micros, limit: Micros, cause: str, *, apply: bool) -> bool:
        anew = redated(policy, by, limit)
        if anew is policy or not apply:
            return anew is not policy
        located = self._policies.load([policy.policy_id])[policy.policy_id]
        step = advance(anew, self._status.now(), self._policies.in_epoch(self._rules), learnt=True)
        if step is not None:
            # Whoever has written it meanwhile is seen in the next pass.
            written = located._replace(policy=policy)
            self._policies.commit([Commit(written, step, ObservationSource("operator", cause, ACTION), None)])
        return True

    def _scores(self, key: str, by: Micros, limit: Micros) -> list[ScriptCall | Command]:
        calls: list[ScriptCall | Command] = []
        start = 0
        while True:
            command = Command(("ZRANGEBYSCORE", key, f"({limit}", "+inf", "WITHSCORES", "LIMIT", start, PAGE))
            scores = scored(self._client.one(command))
            calls += [Command(("ZADD", key, "XX", "LT", int(score) - by, member)) for member, score in scores]
            if len(scores) < PAGE:
                return calls
            start += PAGE

    def _moments(self, key: str, by: Micros, limit: Micros) -> list[ScriptCall | Command]:
        values = fields(self._client.one(Command(("HGETALL", key))))
        return self._changed(key, values, by, limit)

    def _event(self, key: str, by: Micros, limit: Micros) -> list[ScriptCall | Command]:
        values = cast("Sequence[bytes | None]", self._client.one(Command(("HMGET", key, *_EVENT_DATES))))
        dates = {name: value for name, value in zip(_EVENT_DATES, values, strict=True) if value is not None}
        return self._changed(key, dates, by, limit)

    @staticmethod
    def _changed(key: str, values: dict[str, bytes], by: Micros, limit: Micros) -> list[ScriptCall | Command]:
        return [
            ScriptCall("redate", (key, key), (name, value, name, int(value) - by, 0))
            for name, value in values.items()
            if value.isdigit() and int(value) > limit
        ]

    def _observed(self, key: str, by: Micros, limit: Micros) -> list[ScriptCall | Command]:
        values = fields(self._client.one(Command(("HGETALL", key))))
        facts = {name: decode_fact(value.partition(b" ")[2]) for name, value in values.items()}
        if all(fact.at <= limit for fact in facts.values()):
            return []
        order = key.replace(":observed:", ":observed-by-worth:", 1)
        calls: list[ScriptCall | Command] = []
        for (name, before), after in zip(facts.items(), shifted(facts.values(), by, limit), strict=True):
            if after != before:
                dated = name.endswith(" dated")
                at = after.dated if dated and after.dated is not None else after.at
                to = f"{subject(after)} dated" if dated else subject(after)
                calls.append(
                    ScriptCall(
                        "redate",
                        (key, order),
                        (name, values[name], to, b"%d %s" % (at, encode_fact(after)), remembered_rank(after)),
                    )
                )
        return calls

    def _counts(self, key: str, by: Micros, limit: Micros) -> list[ScriptCall | Command]:
        calls: list[ScriptCall | Command] = []
        for name, value in fields(self._client.one(Command(("HGETALL", key)))).items():
            parts = WRITTEN.fullmatch(value)
            if parts is not None and int(parts[3]) > limit:
                first, last = (int(date) - by if int(date) > limit else int(date) for date in (parts[2], parts[3]))
                anew = b"%s %d %d %s" % (parts[1], first, last, parts[4])
                calls.append(ScriptCall("redate", (key, key), (name, value, name, anew, 0)))
        return calls

    def _string(self, key: str, by: Micros, limit: Micros) -> list[ScriptCall | Command]:
        value = cast("bytes | None", self._client.one(Command(("GET", key))))
        return [] if value is None or int(value) <= limit else [Command(("SET", key, int(value) - by))]

    def _expiry(self, key: str, _: Micros, __: Micros) -> list[ScriptCall | Command]:
        left = cast("int", self._client.one(Command(("PTTL", key))))
        return [Command(("DEL", key))] if left > TOLERANCE // 1000 else []
