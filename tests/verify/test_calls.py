"""What a thread may ask of GitHub is bounded, and what is apart is apart."""

from __future__ import annotations

import pytest

from worker.github.answers import LaterError, SpentError
from worker.verify.calls import Allowance, CallCounter


def test_an_allowance_is_used_up_by_calls_and_ends_with_the_work() -> None:
    calls = CallCounter()
    with calls.within(Allowance(2, 60.0)):
        for _ in range(2):
            calls.until()
            calls.note("/user/{user}", "ok")
        with pytest.raises(SpentError, match="calls are used up"):
            calls.until()
    assert calls.until() == float("inf")


def test_an_allowance_is_used_up_by_time_and_silence_is_no_use_of_it() -> None:
    calls = CallCounter()
    with calls.within(Allowance(9, 0.0)):
        with pytest.raises(SpentError, match="time is up"):
            calls.until()
        calls.note("/user/{user}", "later")
        with pytest.raises(LaterError, match="did not answer") as caught:
            calls.until()
        assert not isinstance(caught.value, SpentError)


def test_what_is_apart_is_not_taken_from_the_outer_allowance() -> None:
    calls = CallCounter()
    with calls.within(Allowance(1, 60.0)):
        with calls.within(Allowance(3, 60.0)):
            for _ in range(3):
                calls.until()
                calls.note("/app/installations", "ok")
        calls.until()
        calls.note("/user/{user}", "ok")
        with pytest.raises(SpentError):
            calls.until()


def test_nothing_is_asked_by_a_process_that_ends() -> None:
    calls = CallCounter()
    calls.stop()
    with pytest.raises(SpentError, match="to end"):
        calls.until()
