"""Something to look at: policies in every state, with a history, and hours of vital signs."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable
from itertools import pairwise

from handlers.base import OPERATOR
from tests.store.making import about_member, about_policy, about_repository, letter, login, refusal, registration
from tests.web.site import Site
from worker.lifecycle.facts import DAY, HOUR, SECOND
from worker.store.inbox import EVENTS, Envelope
from worker.store.samples import LATENCIES, Sample, Samples

HOSTILE = '<img src=x onerror="alert(1)">\u202egpj.exe\u0000</script>'
"""Markup, a character that turns the text around, one that hides, and the end of a script."""
RELEASE = "octo/widgets/.github/workflows/release.yml@refs/tags/v1.4.0"


def put(site: Site, letters: Iterable[Envelope]) -> None:
    """Put events in and settle them, one after another."""
    processor = site.app.processor("test")
    for one in letters:
        site.app.inbox.put([[one]])
        processor.drain(one.partition, EVENTS)


def dies(
    site: Site, letter: Envelope, error: str = "UnusableEventError", message: str = "repository.id: Field required"
) -> str:
    """A dead letter, as a worker leaves it; returns its id."""
    inbox, now = site.app.inbox, site.app.status.now()
    inbox.put([[letter]])
    (event,) = inbox.claim(letter.partition, EVENTS, "host:1", 1).events
    trace = '  File "handlers/repository.py", line 41, in archived\n'
    inbox.fail(event, error=error, message=message, trace=trace, worker="host:1", now=now, final=True)
    return letter.event_id


def about_to_hold(policy_id: str) -> dict[str, str]:
    """What the form of a policy's page sends to hold it."""
    return {"id": policy_id, "act": "hold", "reason": "asked by its owner", "request_id": str(uuid.uuid4())}


def at_work(site: Site) -> None:
    """A worker and a scheduler have been seen."""
    for role in ("worker", "scheduler"):
        site.app.status.beat(role, f"host:{role}")


def scene(site: Site) -> None:
    """A handful of policies, in every state."""
    app, now = site.app, site.app.status.now()
    owner = 600613
    put(site, [
        registration(app, "widgets-release", owner=owner, repository_id=9007199254740993, at=now - 3 * DAY),
        login(app, "widgets-release", owner=owner, repository_id=9007199254740993, at=now - 2 * DAY, ref="refs/tags/v1.4.0",
              caller=RELEASE, called=RELEASE, runner="github-hosted"),
        registration(app, "gears-nightly", owner=owner, repository_id=71, name="gears", at=now - 2 * DAY),
        registration(app, "sprockets", owner=owner, repository_id=72, name="sprockets", at=now - 30 * DAY),
        registration(app, "bolts-publish", owner=owner, repository_id=73, name="bolts", at=now - DAY, user=77),
        login(app, "bolts-publish", owner=owner, repository_id=73, at=now - DAY + HOUR),
        about_repository(app, "archived", "d-archived", owner=owner, repository_id=73, name="bolts"),
        about_member(app, "member_removed", "d-left", owner=owner, user=77),
        registration(app, "old-tools", owner=owner, repository_id=74, name="tools", at=now - 5 * DAY),
        about_policy(app, "policy.removed", "old-tools", owner=owner),
        letter(app, "policy.held", {"policy_id": "gears-nightly", "reason": "asked by its owner"}, "h-1", owner=owner,
               kind=OPERATOR, at=now - HOUR),
        letter(app, "policy.released", {"policy_id": "gears-nightly", "reason": "settled"}, "h-2", owner=owner,
               kind=OPERATOR, at=now - HOUR // 2),
        refusal(app, "widgets-release", "r-1", code="environment", run_id=4711, at=now - HOUR // 2),
        refusal(app, "widgets-release", "r-2", ref="refs/heads/snapshot", run_id=4712, at=now - HOUR // 4),
    ])  # fmt: skip


def hours(site: Site) -> None:
    """A day, and its last hour, of samples: busy in waves."""
    samples, now = Samples(site.app.client), site.app.status.now() // (10 * SECOND) * 10
    hour = now - 3600
    moments = [*range(hour // 300 * 300 - 276 * 300, hour, 300), *range(hour, now + 1, 10)]
    total, latency = 0, [0] * LATENCIES
    for before, moment in pairwise(moments):
        rate = 20 + 14 * math.sin(moment / 900) + 5 * math.sin(moment / 70)
        total += max(0, round(rate * (moment - before)))
        latency[4 + round(2 + 2 * math.sin(moment / 700))] += round(rate)
        waiting = max(0, round(6 * math.sin(moment / 130)))
        oldest = waiting * SECOND // 4
        samples.keep(Sample(moment * SECOND, total, total - waiting, total // 2, waiting, oldest, 0, 0, list(latency)))
