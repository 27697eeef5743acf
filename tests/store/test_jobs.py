"""A tick is begun once, and a job's last run is known."""

from __future__ import annotations

import pytest

from worker.app import App
from worker.lifecycle.facts import SECOND


@pytest.fixture
def second(app: App) -> int:
    """The present one, by the store's clock."""
    return app.status.now() // SECOND


def test_a_tick_is_begun_by_the_first_who_asks(app: App, second: int) -> None:
    assert app.status.begin_job("sweep", second, "a:1")
    assert not app.status.begin_job("sweep", second, "b:1")
    assert app.status.begin_job("trim", second, "b:1")
    run = app.status.runs(["sweep"])["sweep"]
    assert run is not None
    assert (run.planned, run.finished, run.worker) == (second * SECOND, None, "a:1")


def test_of_several_that_are_late_the_last_stands_for_all(app: App, second: int) -> None:
    assert app.status.begin_job("sweep", second, "a:1")
    assert not app.status.begin_job("sweep", second - 20, "a:1")


def test_the_end_of_a_run_is_noted_unless_a_later_one_has_begun(app: App, second: int) -> None:
    app.status.begin_job("sweep", second, "a:1")
    app.status.end_job("sweep", second, "")
    run = app.status.runs(["sweep"])["sweep"]
    assert run is not None
    assert run.finished is not None
    assert run.took == run.finished - run.started
    app.status.begin_job("sweep", second + 20, "a:1")
    app.status.end_job("sweep", second, "LaterError")
    run = app.status.runs(["sweep"])["sweep"]
    assert run is not None
    assert (run.finished, run.error) == (None, "")
    app.status.end_job("sweep", second + 20, "LaterError")
    run = app.status.runs(["sweep"])["sweep"]
    assert run is not None
    assert run.error == "LaterError"


def test_a_scheduler_whose_clock_was_wrong_keeps_nobody_from_running(app: App, second: int) -> None:
    assert app.status.begin_job("sweep", second + 86_400, "a:1")
    assert app.status.begin_job("sweep", second, "b:1")


def test_a_job_that_never_ran_has_no_run(app: App) -> None:
    assert app.status.runs(["sweep"]) == {"sweep": None}
