"""`GET /metrics`: how the exchange decides, and how far its mirror can be trusted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.responses import Response

if TYPE_CHECKING:
    from examples.exchange.app import TokenExchange


class _Collected(Collector):
    def __init__(self, exchange: TokenExchange, outbox: tuple[int, int] | None) -> None:
        self._exchange = exchange
        self._outbox = outbox

    def collect(self) -> Iterator[Metric]:
        exchange, status = self._exchange, self._exchange.mirror.status()
        yield _counter("exchange_logins", "Tokens that were presented.", "outcome", exchange.logins)
        yield _counter("exchange_key_checks", "Keys that the index asked about.", "outcome", exchange.checks)
        unknown = exchange.mirror.unknown_claims.counts()
        yield _counter("exchange_unknown_claims", "Tokens with a claim that no rule knows.", "claim", unknown)
        yield _counter("exchange_issuer_fetches", "Fetches of the issuer's keys.", "outcome", exchange.keys.fetches)
        gauges = {
            "exchange_mirror_trusted": ("Whether decisions come from memory.", status.trusted),
            "exchange_mirror_lag_seconds": ("Since the store said that nothing is missing.", status.lag_seconds),
            "exchange_mirror_delay_seconds": ("From the last change until it counted.", status.delay_seconds),
            "exchange_mirror_load_seconds": ("How long the last snapshot took.", status.load_seconds),
            "exchange_mirror_policies": ("Policies in memory.", status.policies),
        }
        gauges["exchange_refusals"] = ("Refusals that Tenure was not told yet.", exchange.reporter.waiting)
        if self._outbox is not None:
            gauges["exchange_outbox"] = ("Logins that Tenure was not told yet.", self._outbox[0])
            gauges["exchange_outbox_refused"] = ("Logins that Tenure will not take.", self._outbox[1])
        for name, (text, value) in gauges.items():
            yield GaugeMetricFamily(name, text, value)
        counts = {
            "exchange_mirror_changes": ("Changes read from the feed.", status.changes),
            "exchange_mirror_loads": ("Snapshots loaded.", status.loads),
            "exchange_mirror_gaps": ("How often something of the feed was missing.", status.gaps),
            "exchange_refusals_untold": ("Refusals that Tenure will not hear of.", exchange.reporter.untold),
            "exchange_direct_reads": ("Decisions for which the store was asked.", exchange.evaluator.direct),
        }
        for name, (text, value) in counts.items():
            yield CounterMetricFamily(name, text, value)


def _counter(name: str, text: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    for value, count in sorted(values.items()):
        family.add_metric([value], count)
    return family


def exposed(exchange: TokenExchange, outbox: tuple[int, int] | None) -> Response:
    registry = CollectorRegistry()
    registry.register(_Collected(exchange, outbox))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
