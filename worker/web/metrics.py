"""`GET /metrics`: Prometheus' text, from counters that the store keeps for all processes."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from handlers.base import EXCHANGE, GITHUB, OPERATOR, REGISTRY
from schedules.table import entries
from worker.app import App
from worker.lifecycle.decide import State
from worker.lifecycle.facts import SECOND, Micros
from worker.lifecycle.owners import DEFAULT
from worker.lifecycle.views import ChangeType
from worker.settling.processor import worker_name
from worker.store.client import StoreError
from worker.store.dead import Group
from worker.web.threads import Web

EXPORTS = "metrics"
TURN: Micros = 40 * SECOND
"""How long after its last scrape a process still has its turn: two scrapes, each 15 s after the last, and some."""
BUCKETS = 16
"""Latency buckets with an upper bound: the i-th ends at 2^i ms. One more takes the rest."""


class StoreCollector(Collector):
    """Reads everything from the store, anew for each scrape."""

    def __init__(self, app: App) -> None:
        self._app = app

    def collect(self) -> Iterable[Metric]:
        """
        Raises:
            StoreError: the store cannot be reached.
        """
        counters = self._app.status.counters()
        now, skews = self._app.status.now(), self._app.status.skews(lambda: time.time_ns() // 1000)
        depth = self._app.inbox.depth()
        yield from _counted(counters)
        yield _latency(counters)
        del depth["dead"]
        yield _gauge("tenure_queue_depth", "Events in the inbox that are not settled.", "lane", depth)
        waited = "How long the oldest event of the inbox is due."
        yield GaugeMetricFamily("tenure_queue_oldest_seconds", waited, self._app.inbox.lag() / SECOND)
        late = "How late the clock is."
        yield GaugeMetricFamily("tenure_due_lag_seconds", late, self._app.policies.due_lag() / SECOND)
        skew = "By how much the store's clock is ahead of this machine's; negative: behind. Of several, the one that is most wrong."
        yield GaugeMetricFamily("tenure_clock_skew_seconds", skew, max(skews.values(), key=abs, default=0) / SECOND)
        ahead = "By how much what Tenure dates is ahead of the store's clock, because that was set back."
        yield GaugeMetricFamily("tenure_clock_ahead_seconds", ahead, self._app.status.ahead() / SECOND)
        recovery = self._app.epochs.recovery()
        closed = "Whether the store went back in time, and everything is closed until an operator accepts that."
        is_closed = recovery is not None and recovery.accepted is None
        yield GaugeMetricFamily("tenure_recovery_open", closed, int(is_closed))
        yield from _verification(self._app, counters, now)
        yield from _jobs(self._app, now)
        yield from _dead(self._app.dead.groups(), now)
        yield from _followed(self._app)
        alive_by_role = {role: len(self._app.status.alive(role)) for role in ("worker", "scheduler", "asker")}
        yield _gauge("tenure_processes", "Processes seen in the last ten seconds.", "role", alive_by_role)
        durable = self._app.status.durability()
        if durable.known:
            text = "Whether what is acknowledged is on disk."
            yield GaugeMetricFamily("tenure_store_durable", text, int(durable.durable))


def _dead(groups: Iterable[Group], now: Micros) -> Iterator[Metric]:
    """Of every kind, also of those of which there are none: an alert wants to see that it is over."""
    numbers = dict.fromkeys((GITHUB, REGISTRY, EXCHANGE, OPERATOR), 0)
    oldest = dict.fromkeys(numbers, now)
    for group in groups:
        numbers[group.kind] = numbers.get(group.kind, 0) + group.letters
        oldest[group.kind] = min(oldest.get(group.kind, now), group.first)
    yield _gauge("tenure_dead_letters", "Events that were given up on and are kept.", "kind", numbers)
    text = "How long ago the oldest dead letter was given up on; 0 if there is none."
    ages = {kind: (now - first) / SECOND for kind, first in oldest.items()}
    yield _gauge("tenure_dead_letters_oldest_seconds", text, "kind", ages)


def _followed(app: App) -> Iterator[Metric]:
    """How far named consumers of the feed are behind."""
    lags = {lag.consumer.name: lag for lag in app.consumers.lags()}
    for name, text, values in (
        ("tenure_consumer_changes", "Changes that a named consumer of the feed has not acknowledged.", {name: lag.changes for name, lag in lags.items()}),
        ("tenure_consumer_lag_seconds", "How long ago the first of them was published.", {name: lag.seconds for name, lag in lags.items()}),
        ("tenure_consumer_gone", "1 if the feed does not go on from where it is.", {name: int(lag.gone) for name, lag in lags.items()}),
    ):  # fmt: skip
        yield _gauge(name, text, "consumer", values)


def _counted(counters: Mapping[str, int]) -> Iterator[Metric]:
    def labelled(prefix: str) -> dict[str, int]:
        return {name.removeprefix(prefix): count for name, count in counters.items() if name.startswith(prefix)}

    # A series that begins with what has just happened shows no increase: each begins at zero.
    changes = {change.value: 0 for change in ChangeType} | labelled("changes:")
    yield _counter("tenure_events_received", "Events taken into the inbox.", "event", labelled("received:"))
    yield _counter("tenure_events_rejected", "Requests that the API refused.", "reason", labelled("rejected:"))
    yield _counter("tenure_events_failed", "Events that were given up on.", "error", labelled("dead:"))
    yield _counter("tenure_changes", "Revisions that were published.", "type", changes)
    yield _counter("tenure_checks", "Checks against GitHub.", "outcome", labelled("checks:"))
    for name, key, text in (
        ("tenure_events_settled", "settled", "Events that were settled."),
        ("tenure_events_duplicate", "duplicates", "Deliveries of events that were settled before."),
        ("tenure_registrations_refused", "refused", "Registrations that a notice in the feed says were refused."),
        ("tenure_events_retried", "retried", "Failed attempts that will be repeated."),
        ("tenure_commit_conflicts", "conflicts", "Commits that lost a race and were made again."),
    ):
        yield CounterMetricFamily(name, text, counters.get(key, 0))
    # A release before this one counts them by another name, and exported them by it; alerts may still ask for that.
    contradicted = counters.get("logins:contradicted", 0) + counters.get("logins:refused", 0)
    for name, text in (
        ("tenure_logins_contradicted", "Logins that contradict the ids that are bound."),
        ("tenure_logins_refused", "The former name of tenure_logins_contradicted: no refusals of an exchange."),
    ):
        yield CounterMetricFamily(name, text, contradicted)
    states = {state.value: counters.get(f"state:{state.value}", 0) for state in State}
    yield _gauge("tenure_policies", "Policies by their state.", "state", states)


def _verification(app: App, counters: Mapping[str, int], now: Micros) -> Iterator[Metric]:
    """How verifying with GitHub stands."""
    calls = CounterMetricFamily("tenure_github_requests", "Calls of GitHub's API.", labels=["route", "outcome"])
    for name, count in sorted(counters.items()):
        if name.startswith("github:"):
            calls.add_metric(name.removeprefix("github:").split("|"), count)
    yield calls
    told = {issuer: list(_of_instance(app, issuer, now)) for issuer in app.settings.instances}
    for place, (name, text, value) in enumerate(told[DEFAULT]):
        family = GaugeMetricFamily(name, text, value)
        for issuer, gauges in told.items():
            if issuer != DEFAULT:
                family.add_sample(name, {"issuer": issuer}, gauges[place][2])
        yield family


def _of_instance(app: App, issuer: str, now: Micros) -> Iterator[tuple[str, str, float]]:
    """The same of one instance of GitHub: name, what it says, value. Only what another than the default one has is labelled."""
    checks, missing = app.checks.at(issuer), app.missing_scopes.at(issuer)
    due, stalest = checks.oldest(), checks.stalest(1)
    breaker, tally = missing.breaker(), missing.tally(now)
    missed = app.deliveries.at(issuer).pending().values()
    lost = sum(delivery.given_up for delivery in missed)
    yield "tenure_github_asked", "1 if there are credentials to ask GitHub with.", int(issuer in app.settings.asked)
    failing = app.ledger.at(issuer).trouble().failures
    yield "tenure_github_failing", "Checks in a row to which GitHub gave no answer.", failing
    yield "tenure_checks_waiting", "Owners whose check waits or is under way.", checks.waiting()
    lag = 0 if due is None else max(0, now - due) / SECOND
    yield "tenure_checks_lag_seconds", "How long the oldest check is due.", lag
    yield "tenure_sweep_owners", "GitHub owners that have policies.", checks.owners()
    oldest = (now - stalest[0][1]) / SECOND if stalest and stalest[0][1] else 0
    text = "How long ago the stalest owner was verified; 0 if an owner never was, or none has policies."
    yield "tenure_sweep_oldest_seconds", text, oldest
    text = "1 while new losses are not believed, because too many owners have some."
    yield "tenure_breaker_open", text, int(breaker.open_since is not None)
    yield "tenure_losses_suspected", "What GitHub does not know, and nobody believes yet.", tally.pending
    yield "tenure_losses_believed", "What GitHub did not know and was believed, in the last hour.", tally.lost
    yield "tenure_deliveries_pursued", "Webhooks that did not arrive, and are asked for again.", len(missed) - lost
    yield "tenure_deliveries_unrecovered", "Webhooks that GitHub cannot deliver any more.", lost


def _jobs(app: App, now: Micros) -> Iterator[Metric]:
    """When each job of the schedule last began, and how that went; of those that run here, so that an alert is over when
    one is not wanted any more. The label `job` is Prometheus' own.
    """
    ran = GaugeMetricFamily("tenure_job_age_seconds", "Since the last run of a job began.", labels=["task"])
    took = GaugeMetricFamily("tenure_job_duration_seconds", "How long its last finished run took.", labels=["task"])
    failed = GaugeMetricFamily("tenure_job_failed", "1 if that run failed.", labels=["task"])
    runs = CounterMetricFamily("tenure_job_runs", "How often a job was begun.", labels=["task"])
    for job, run in app.status.runs([entry.name for entry in entries(app.settings)]).items():
        if run is not None:
            ran.add_metric([job], (now - run.started) / SECOND)
            took.add_metric([job], run.took / SECOND)
            failed.add_metric([job], int(run.error != ""))
            runs.add_metric([job], run.runs)
    yield from (ran, took, failed, runs)


def _counter(name: str, text: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    for value, count in sorted(values.items()):
        family.add_metric([value], count)
    return family


def _gauge(name: str, text: str, label: str, values: Mapping[str, int] | Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family


def _latency(counters: Mapping[str, int]) -> Metric:
    buckets: list[tuple[str, float]] = []
    total = 0
    for i in range(BUCKETS + 1):
        total += counters.get(f"latency:{i}", 0)
        buckets.append(("+Inf" if i == BUCKETS else str(2**i / 1000), total))
    return HistogramMetricFamily(
        "tenure_publish_latency_seconds",
        "From taking an event to publishing a change.",
        buckets=buckets,
        sum_value=counters.get("latency:sum", 0) / SECOND,
    )


class Metrics:
    """Answers scrapes. What is the store's is told by one process at a time, so that sums over all processes are right."""

    def __init__(self, web: Web) -> None:
        self._web = web
        self._who = f"{worker_name()}:{uuid.uuid4().hex[:8]}"
        self._registry = CollectorRegistry()
        self._registry.register(StoreCollector(web.app))

    async def scrape(self, _: Request) -> Response:
        return Response(await self._web.aside(self._text, vital=True), media_type=CONTENT_TYPE_LATEST)

    def _text(self) -> bytes:
        with contextlib.suppress(StoreError):
            # A full store can be read, and then its metrics matter most.
            self._web.inbox_writer.flush()
        tells = self._exports()
        mine = CollectorRegistry()
        Gauge("tenure_tells", "1 if this process tells what is the store's.", registry=mine).set(tells)
        return generate_latest(mine) + (generate_latest(self._registry) if tells else b"")

    def _exports(self) -> bool:
        """Whether it is this process's turn: whoever is scraped while nobody has it takes it, and keeps it by being scraped."""
        status = self._web.app.status
        try:
            return status.keep(EXPORTS, self._who, TURN) or status.hold(EXPORTS, self._who, TURN)
        except StoreError:
            # A full store takes no turn. Better told twice than not at all; if it is away, the reading that follows says so.
            return True
