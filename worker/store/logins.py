"""How a policy's logins are counted, to read; `count.lua` counts them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import orjson

from worker.lifecycle import scopes
from worker.lifecycle.facts import series
from worker.lifecycle.logins import EVERY, LoginCount, LoginOutcome
from worker.lifecycle.policy import Policy
from worker.lifecycle.views import rfc3339
from worker.store.client import Client, Command
from worker.store.codec import UNREADABLE
from worker.store.keys import Keyspace
from worker.store.policies import HistoryEntry
from worker.store.replies import fields

WRITTEN = re.compile(rb"(\d{1,18}) (\d{1,18}) (\d{1,18}) (.*)", re.DOTALL)
"""How often, first, last, and what was said of the last."""


class LoginsOf(NamedTuple):
    """A policy's logins of one outcome: all of them, and by the names under which they are counted, the last first."""

    every: LoginCount
    named: dict[str, LoginCount]


class PolicyLogins(NamedTuple):
    """What an exchange told of a policy's logins; None: of no such login."""

    succeeded: LoginsOf | None
    refused: LoginsOf | None

    def as_json(self) -> dict[str, object]:
        refused = self.refused and {**_json(self.refused.every), "codes": codes_json(self.refused)}
        succeeded = self.succeeded and {**_json(self.succeeded.every), "shapes": _shapes_json(self.succeeded)}
        return {"succeeded": succeeded, "refused": refused}


class LoginCounts:
    """Reads what was counted."""

    def __init__(self, client: Client, keyspace: Keyspace) -> None:
        self._client = client
        self._keyspace = keyspace

    def of(self, policy: Policy) -> PolicyLogins:
        """One round trip. The last login is also known from the facts: it may have been told of before logins were counted.

        Raises:
            StoreError: the store could not be reached.
        """
        home = self._keyspace.directory(policy.policy_id)
        keys = [home.logins(outcome, policy.policy_id) for outcome in (LoginOutcome.SUCCEEDED, LoginOutcome.REFUSED)]
        replies = self._client.run([Command(("HGETALL", key)) for key in keys])
        succeeded, refused = (_logins_of(fields(reply)) for reply in replies)
        return PolicyLogins(_with_facts(succeeded, policy), refused)


def with_logins(history: Sequence[HistoryEntry], told: PolicyLogins) -> list[HistoryEntry]:
    """A policy's history, the newest first, with its last login and its last refusal where they belong: one entry each,
    however many there were. Of what is older than the history nothing is shown there.
    """
    entries = list(history)
    for outcome, found in ((LoginOutcome.SUCCEEDED, told.succeeded), (LoginOutcome.REFUSED, told.refused)):
        if found is None:
            continue
        at = rfc3339(found.every.last_at)
        place = next((n for n, entry in enumerate(entries) if entry.at <= at), None)
        if place is None:
            continue
        name = f"login.{outcome.value}"
        codes = {"codes": codes_json(found)} if outcome is LoginOutcome.REFUSED else {}
        said = {key: value for key, value in found.every.last.items() if key != "id"}
        entries.insert(
            place,
            entries[place]._replace(
                at=at, type=name, cause={"kind": "exchange", "id": str(found.every.last.get("id", "")), "event": name},
                sources={}, login={**said, "count": found.every.times, **codes},
            ),
        )  # fmt: skip
    return entries


def _shapes_json(succeeded: LoginsOf) -> list[dict[str, object]]:
    """What the logins that succeeded were like, the last first."""
    return [{**count.last, **_dated(count)} for count in succeeded.named.values()]


def codes_json(refused: LoginsOf) -> list[dict[str, object]]:
    """How often tokens were refused for what, the last first."""
    return [{"code": code, **_dated(count)} for code, count in refused.named.items()]


def _json(count: LoginCount) -> dict[str, object]:
    return {**_dated(count), "last": count.last}


def _dated(count: LoginCount) -> dict[str, object]:
    return {"count": count.times, "first_at": rfc3339(count.first_at), "last_at": rfc3339(count.last_at)}


def _logins_of(found: dict[str, bytes]) -> LoginsOf | None:
    counts = {name: count for name, written in found.items() if (count := _count(written)) is not None}
    every = counts.pop(EVERY, None)
    if every is None:
        return None
    return LoginsOf(every, dict(sorted(counts.items(), key=lambda item: (item[1].last_at, item[0]), reverse=True)))


def _count(written: bytes) -> LoginCount | None:
    """None if it is none of ours."""
    parts = WRITTEN.fullmatch(written)
    if parts is None:
        return None
    try:
        last = orjson.loads(parts[4])
    except UNREADABLE:
        return None
    return LoginCount(int(parts[1]), int(parts[2]), int(parts[3]), last) if isinstance(last, dict) else None


def _with_facts(succeeded: LoginsOf | None, policy: Policy) -> LoginsOf | None:
    known = series(policy.facts, scopes.policy(policy.policy_id), "login")
    if not known or (succeeded is not None and succeeded.every.last_at >= known[-1].at):
        return succeeded
    at, said = known[-1].at, {"id": known[-1].source.id}
    if succeeded is None:
        return LoginsOf(LoginCount(0, at, at, said), {})
    return succeeded._replace(every=succeeded.every._replace(last_at=at, last=said))
