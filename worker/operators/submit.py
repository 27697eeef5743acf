"""An operator's own events: put into the inbox like any other, and answered for at once if no worker is faster."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import orjson

from handlers.base import OPERATOR
from handlers.table import TAKING
from worker.app import App
from worker.lifecycle.facts import Micros
from worker.lifecycle.owners import OwnerRef
from worker.lifecycle.views import rfc3339
from worker.settling.processor import Processor, worker_name
from worker.store.audit import event_act
from worker.store.inbox import SUSPECT, Envelope, identity
from worker.store.keys import Partition

PATIENCE_SECONDS = 20.0


class Submission(NamedTuple):
    """One event to be: `owner` is the GitHub owner that it concerns."""

    name: str
    data: Mapping[str, object]
    owner: OwnerRef
    request_id: str
    """Makes it idempotent: the same id is the same event."""
    occurred_at: Micros | None = None
    """When it happened, if that was not now; else it is dated like a webhook, when it is taken."""


class SubmissionResult(NamedTuple):
    done: bool
    error: str | None
    """Why not, for an event that failed."""


def submit(app: App, submissions: Sequence[Submission], *, by: str, audited: bool = True) -> list[SubmissionResult]:
    """Put events into the inbox and wait until they are settled or have failed.

    Whoever settles one enters it in the audit trail, unless not `audited`: then the caller enters what it is a part of.

    Raises:
        StoreError: the store could not be reached; those that were stored will still be settled.
    """
    envelopes = [envelope_of(app, item, by=by, audited=audited) for item in submissions]
    app.inbox.put([[envelope] for envelope in envelopes])
    processor = app.processor(worker_name())
    deadline = time.monotonic() + PATIENCE_SECONDS
    return [_verdict(app, processor, envelope.partition, envelope.event_id, deadline) for envelope in envelopes]


def envelope_of(app: App, item: Submission, *, by: str, audited: bool = True) -> Envelope:
    """The event as it is put into the inbox."""
    return Envelope(
        partition=app.keyspace.of(item.owner),
        event_id=identity(OPERATOR, item.request_id, item.name),
        kind=OPERATOR,
        name=item.name,
        delivery=item.request_id,
        body=orjson.dumps(item.data),
        occurred_at=item.occurred_at,
        by=by,
        owner=item.owner,
        policy=_text(item.data.get("policy_id")),
        first=item.name in TAKING,
        act=_act(item, by, item.occurred_at or app.status.now()) if audited else None,
    )


def _act(item: Submission, by: str, asked_at: Micros) -> bytes:
    policy = _text(item.data.get("policy_id"))
    details = {"request": item.request_id, "asked_at": rfc3339(asked_at)}
    return event_act(item.name, by, _text(item.data.get("reason")), () if policy is None else (policy,), details)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _verdict(app: App, processor: Processor, partition: Partition, event_id: str, deadline: float) -> SubmissionResult:
    while True:
        event = app.inbox.get(partition, event_id)
        if event is None:
            return SubmissionResult(done=True, error=None)
        if event.error is not None:
            return SubmissionResult(done=False, error=f"{event.error}: {event.message}")
        if time.monotonic() > deadline:
            return SubmissionResult(done=False, error="still waiting in the inbox; a worker will settle it")
        if "held_by" in event.fields:
            # Another process holds it; it will answer within its lease.
            time.sleep(0.02)
        elif event.lane == SUSPECT:
            processor.drain_quarantine()
        else:
            processor.drain(partition, event.lane)
