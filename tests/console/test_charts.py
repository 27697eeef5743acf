"""Charts are arithmetic: rates between counters, percentiles of buckets, lines with gaps."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from tests.console.calling import Caller
from tests.console.scene import hours
from tests.web.site import Site
from worker.console.charts import HEIGHT, WIDTH, chart, charts
from worker.console.templating import number
from worker.lifecycle.facts import SECOND
from worker.store.samples import LATENCIES, STEPS, Sample, Samples


def sample(
    at: int, received: int = 0, changes: int = 0, latency: dict[int, int] | None = None, waiting: int = 0
) -> Sample:
    buckets = [(latency or {}).get(place, 0) for place in range(LATENCIES)]
    return Sample(at * SECOND, received, received, changes, waiting, 0, 0, 0, buckets)


def test_rates_are_per_second_and_a_counter_that_began_anew_says_nothing() -> None:
    found = charts([sample(0, 100), sample(10, 150), sample(20, 5), sample(30, 25)], 10)[0]
    assert (found.name, found.now, found.peak) == ("Events in", 2.0, 5.0)
    assert found.summary == "Events in: 2/s now, at most 5/s in the last 20 s"


def test_a_percentile_is_the_end_of_the_bucket_that_holds_it() -> None:
    before, after = sample(0), sample(10, latency={3: 94, 9: 6})
    assert charts([before, after], 10)[2].now == 2**9
    assert charts([before, sample(10, latency={3: 96, 9: 4})], 10)[2].now == 2**3
    assert charts([before, sample(10)], 10)[2].now is None


def test_a_percentile_is_shown_as_the_bound_that_it_is() -> None:
    before = sample(0)
    found = charts([before, sample(10, latency={3: 1})], 10)[2]
    assert (found.bound, found.now, found.summary[:34]) == ("≤", 8, "Event to change, p95: at most 8 ms")
    # The last bucket has no end.
    found = charts([before, sample(10, latency={LATENCIES - 1: 1})], 10)[2]
    assert (found.bound, found.now) == (">", 2**15)
    assert found.summary.startswith("Event to change, p95: more than 32,768 ms now")
    assert {chart.bound for chart in charts([before, sample(10, 5)], 10)} == {""}


def test_missed_samples_are_a_gap() -> None:
    found = chart("x", "", [(at * SECOND, 1.0) for at in (0, 10, 20, 300, 310)], 10)
    assert [len(line.split()) for line in found.lines] == [3, 2]


def test_nothing_is_drawn_of_nothing() -> None:
    for empty in ([], [sample(0)]):
        assert charts(empty, 10)[0].lines == []
    assert charts([sample(0)], 10)[3].lines == [f"{WIDTH:.1f},{HEIGHT - 2:.1f}"]


@given(st.lists(st.tuples(st.integers(1, 1000), st.floats(0, 1e9)), min_size=1, max_size=50))
def test_every_point_is_inside(steps: list[tuple[int, float]]) -> None:
    at, points = 0, []
    for step, value in steps:
        at += step * SECOND
        points.append((at, value))
    found = chart("x", "", points, 10)
    drawn = [tuple(map(float, point.split(","))) for line in found.lines for point in line.split()]
    assert len(drawn) == len(points)
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in drawn)
    assert [x for x, _ in drawn] == sorted(x for x, _ in drawn)


def test_numbers_have_the_digits_that_say_something() -> None:
    told = {0.0: "0", 3: "3", 12345.0: "12,345", 1.25: "1.2", 0.0312: "0.031", 123.4: "123"}
    assert {value: number(value) for value in told} == told


def test_a_ring_forgets_what_is_older_than_its_length(site: Site) -> None:
    samples = Samples(site.app.client)
    for place in range(STEPS[10] + 40):
        samples.keep(sample(3000 + place * 10, place))
    ring = samples.ring(10)
    assert (len(ring), ring[-1].received) == (STEPS[10], STEPS[10] + 39)
    assert [one.at // SECOND % 300 for one in samples.ring(300)] == [0] * len(samples.ring(300))
    assert len(samples.ring(300)) == (STEPS[10] + 40 + 29) // 30


def test_the_overview_draws_an_hour_and_a_day(site: Site) -> None:
    hours(site)
    caller = Caller(site.url)
    with caller.http:
        caller.logged_in()
        for path, told in (("/", "The last hour"), ("/?span=day", "The last 24 hours")):
            page = caller.get(path).text
            assert told in page
            assert page.count("<polyline") == 6
            assert "The newest sample" not in page
        site.redis.delete("tenure:{all}:samples:10")
        Samples(site.app.client).keep(sample(site.app.status.now() // SECOND - 3600))
        assert re.search("The newest sample was taken <time[^>]*>1 h ago</time>", caller.get("/").text)
