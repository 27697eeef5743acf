"""Small charts from samples: pure arithmetic, drawn by a template as SVG."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from worker.lifecycle.facts import SECOND, Micros
from worker.store.samples import LATENCIES, Sample
from worker.words.text import span

WIDTH = 240
HEIGHT = 48
BROKEN = 3
"""So many missed samples are a gap in the line."""


class Chart(NamedTuple):
    """One line over time."""

    name: str
    unit: str
    now: float | None
    """The newest value; None if there is none."""
    peak: float
    lines: list[str]
    """Points of each unbroken line, for SVG, in a box of `WIDTH` by `HEIGHT`."""
    areas: list[str]
    summary: str
    """The same in words."""
    bound: str = ""
    """How the newest value is to be read, where it is a bound and not measured: `≤`, or `>`."""


Point = tuple[Micros, float]


def charts(samples: Sequence[Sample], step: int) -> list[Chart]:
    """What the overview shows. `step` is the distance of the samples, in seconds."""
    return [
        chart("Events in", "/s", _rates(samples, lambda sample: sample.received), step),
        chart("Changes out", "/s", _rates(samples, lambda sample: sample.changes), step),
        _latency(samples, step),
        chart("Events waiting", "", [(s.at, s.waiting) for s in samples], step),
        chart("Oldest waiting", " s", [(s.at, s.oldest / SECOND) for s in samples], step),
        chart("Dead letters", "", [(s.at, s.dead) for s in samples], step),
    ]


def _rates(samples: Iterable[Sample], total: Callable[[Sample], int]) -> list[Point]:
    """Per second. A counter that fell was begun anew: nothing is known of that moment."""
    return [
        (later.at, (total(later) - total(earlier)) * SECOND / (later.at - earlier.at))
        for earlier, later in pairwise(samples)
        if later.at > earlier.at and total(later) >= total(earlier)
    ]


LONGEST = float(2 ** (LATENCIES - 2))
"""Milliseconds where the last bucket begins, which has no end."""


def _latency(samples: Sequence[Sample], step: int) -> Chart:
    """What is known of a percentile is the bucket that holds it: it is shown as a bound."""
    points = _percentiles(samples, 0.95)
    longer = bool(points) and points[-1][1] > LONGEST
    shown = chart("Event to change, p95", " ms", [(at, min(value, LONGEST)) for at, value in points], step)
    if shown.now is None:
        return shown
    words = "more than" if longer else "at most"
    summary = shown.summary.replace(": ", f": {words} ", 1)
    return shown._replace(bound=">" if longer else "≤", summary=summary)


def _percentiles(samples: Iterable[Sample], share: float) -> list[Point]:
    """In milliseconds: the upper end of the bucket that holds it; of the last one, which has none, more than `LONGEST`. No
    point where nothing was published.
    """
    points: list[Point] = []
    for earlier, later in pairwise(samples):
        counts = [b - a for a, b in zip(earlier.latency, later.latency, strict=True)]
        total = sum(counts)
        if total <= 0 or min(counts) < 0:
            continue
        passed = 0
        for place, count in enumerate(counts):
            passed += count
            if passed >= share * total:
                points.append((later.at, float(2**place)))
                break
    return points


def chart(name: str, unit: str, points: Sequence[Point], step: int) -> Chart:
    """A chart of points in the order of time."""
    if not points:
        return Chart(name, unit, None, 0, [], [], f"{name}: nothing yet")
    begin, end = points[0][0], points[-1][0]
    peak = max(value for _, value in points)
    now = points[-1][1]
    runs: list[list[str]] = []
    last: Micros | None = None
    for moment, value in points:
        x = WIDTH * (moment - begin) / (end - begin) if end > begin else WIDTH
        y = HEIGHT - 2 - (HEIGHT - 6) * (value / peak if peak else 0)
        if last is None or moment - last > BROKEN * step * SECOND:
            runs.append([])
        runs[-1].append(f"{x:.1f},{y:.1f}")
        last = moment
    areas = [f"{_x(run[0])},{HEIGHT} {' '.join(run)} {_x(run[-1])},{HEIGHT}" for run in runs]
    summary = (
        f"{name}: {_number_text(now)}{unit} now, at most {_number_text(peak)}{unit} in the last {span(end - begin)}"
    )
    return Chart(name, unit, now, peak, [" ".join(run) for run in runs], areas, summary)


def _x(point: str) -> str:
    return point.partition(",")[0]


def _number_text(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"
