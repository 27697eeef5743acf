"""Budgets: what is believed of GitHub's headers, and who may ask when."""

from __future__ import annotations

import math
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import support  # noqa: F401 - hypothesis' profile
from worker.github.budget import APP, LONGEST_WAIT, Budget, Budgets, budget_of, limited_until

NOW = 1_800_000_000.5

times = st.integers(0, 20)
budgets = st.one_of(
    times.map(lambda until: Budget(blocked_until=until)),
    st.builds(Budget, st.integers(0, 30), st.integers(0, 30), st.integers(1, 20), times),
)
header_texts = st.one_of(
    st.integers(-10, 3_000_000_000).map(str),
    st.sampled_from(["", " 7 ", "1e3", "٣", "9" * 40, "Wed, 21 Oct 2026 07:28:00 GMT", "-1"]),
)
headers = st.dictionaries(
    st.sampled_from(["retry-after", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"]), header_texts
)


@given(budgets, budgets, budgets)
def test_what_answers_say_adds_up_in_any_order_and_any_number_of_times(a: Budget, b: Budget, c: Budget) -> None:
    assert a.merged(b) == b.merged(a)
    assert a.merged(b).merged(c) == a.merged(b.merged(c))
    assert a.merged(a) == a
    assert a.merged(Budget()) == a


@given(budgets, times, st.booleans())
def test_whoever_has_to_wait_waits_for_a_time_to_come_and_then_may_ask(budget: Budget, now: int, urgent: bool) -> None:
    retry_at = budget.permit(now, urgent=urgent)
    if retry_at is not None:
        assert retry_at > now
        # A block may end within a window that is used up; there is no third wait.
        then = budget.permit(retry_at, urgent=urgent)
        assert then is None or budget.permit(then, urgent=urgent) is None


@given(budgets, times)
def test_urgent_calls_may_do_whatever_others_may(budget: Budget, now: int) -> None:
    if budget.permit(now, urgent=False) is None:
        assert budget.permit(now, urgent=True) is None


@given(budgets, budgets, times, st.booleans())
def test_knowing_more_of_the_same_window_permits_no_more(a: Budget, b: Budget, now: int, urgent: bool) -> None:
    b = b._replace(reset_at=a.reset_at, limit=a.limit)
    if a.permit(now, urgent=urgent) is not None:
        assert a.merged(b).permit(now, urgent=urgent) is not None


@given(st.integers(1, 15_000), st.integers(0, 15_000))
def test_the_last_tenth_is_for_urgent_calls(limit: int, remaining: int) -> None:
    budget = Budget(limit, remaining, reset_at=100)
    assert (budget.permit(50, urgent=True) is None) == (remaining > 0)
    assert (budget.permit(50, urgent=False) is None) == (remaining > math.ceil(limit / 10))
    assert budget.permit(100, urgent=False) is None


@given(st.sampled_from([200, 304, 401, 403, 404, 429, 500]), headers, st.text(max_size=20))
def test_nothing_that_headers_say_holds_us_up_for_longer_than_an_hour(
    status: int, given_headers: dict[str, str], message: str
) -> None:
    assert budget_of(given_headers, NOW).reset_at <= math.ceil(NOW) + LONGEST_WAIT
    until = limited_until(status, given_headers, message, NOW)
    if until is not None:
        assert status in (403, 429)
        assert NOW + 1 <= until <= math.ceil(NOW + LONGEST_WAIT)
    elif status == 429:
        pytest.fail("429 is always a limit")


def test_headers_tell_of_the_window() -> None:
    heard = {"x-ratelimit-limit": "5000", "x-ratelimit-remaining": "4321", "x-ratelimit-reset": "1800000600"}
    assert budget_of(heard, NOW) == Budget(5000, 4321, 1_800_000_600)
    assert budget_of({**heard, "x-ratelimit-remaining": "many"}, NOW) == Budget()
    assert budget_of({}, NOW) == Budget()


@pytest.mark.parametrize(
    ("status", "heard", "message", "wait"),
    [
        pytest.param(403, {"retry-after": "30"}, "", 30, id="secondary: as long as it says"),
        pytest.param(429, {"retry-after": "0"}, "", 1, id="secondary: at least a second"),
        pytest.param(429, {"retry-after": "864000"}, "", 3600, id="secondary: at most an hour"),
        pytest.param(429, {"retry-after": "soon"}, "", 60, id="secondary: not in seconds"),
        pytest.param(
            403, {"x-ratelimit-remaining": "9"}, "You have exceeded a secondary rate limit.", 60, id="by word"
        ),
        pytest.param(429, {}, "", 60, id="429 alone"),
        pytest.param(403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1800000200"}, "", 200, id="primary"),
        pytest.param(403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "17"}, "", 1, id="primary: over already"),
        pytest.param(403, {"x-ratelimit-remaining": "0"}, "", 60, id="primary: no end named"),
        pytest.param(403, {"x-ratelimit-remaining": "9"}, "Resource not accessible by integration", None, id="403"),
        pytest.param(404, {"retry-after": "30", "x-ratelimit-remaining": "0"}, "", None, id="404"),
    ],
)
def test_a_limit_names_its_end(status: int, heard: dict[str, str], message: str, wait: int | None) -> None:
    assert limited_until(status, heard, message, 1_800_000_000) == (None if wait is None else 1_800_000_000 + wait)


def test_installations_do_not_delay_each_other() -> None:
    known = Budgets()
    known.learn(1, Budget(5000, 0, 100))
    known.block(2, 70)
    assert known.permit(1, 50, urgent=True) == 100
    assert known.permit(2, 50, urgent=True) == 70
    assert known.permit(3, 50, urgent=False) is None
    assert known.permit(APP, 50, urgent=False) is None


def test_processes_share_what_they_know() -> None:
    here, there = Budgets(), Budgets()
    here.learn(1, Budget(5000, 40, 100))
    there.learn(1, Budget(5000, 20, 100))
    there.block(2, 70)
    here.load(there.snapshots())
    assert here.snapshots() == {1: Budget(5000, 20, 100), 2: Budget(blocked_until=70)}
    assert here.snapshots([2, 3]) == {2: Budget(blocked_until=70)}
    assert here.snapshot(3) == Budget()


def test_threads_lose_nothing_that_another_learnt() -> None:
    known = Budgets()
    begin = threading.Barrier(4)

    def learn(part: int) -> None:
        begin.wait()
        for installation in range(1, 200):
            known.learn(installation, Budget(5000, 1000 - part, 100))

    threads = [threading.Thread(target=learn, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert known.snapshots() == {installation: Budget(5000, 997, 100) for installation in range(1, 200)}
