"""A backup is restored: nothing opens that had been closed since, no revision is given twice, and an operator opens it again."""

from __future__ import annotations

import fcntl
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis

from tenure_reader import Reader
from tests.cli.running import Tenure
from tests.conftest import Process, Processes, wait_until
from tests.resilience.test_up import SECRETS, ready
from tests.store.making import about_repository, idle, login, put_and_ring, registration, state
from tests.support import OWNER, REPOSITORY
from worker.app import App, build
from worker.lifecycle.policy import Policy
from worker.lifecycle.rules import REVISIONS
from worker.settings import load


class Place:
    """An installation on this machine, with its data, backups and witness apart from each other."""

    def __init__(self, directory: Path) -> None:
        self.data = directory / "data"
        self.backup = directory / "backup"
        self.settings = {
            **SECRETS,
            "TENURE_DATA_DIR": str(self.data),
            "TENURE_WITNESS_DIR": str(directory / "witness"),
            "TENURE_HTTP_PORT": "0",
        }

    @contextmanager
    def app(self) -> Iterator[App]:
        app = build(load(self.settings))
        try:
            yield app
        finally:
            app.broker.close()
            app.client.redis.close()

    def restore(self) -> None:
        shutil.rmtree(self.data / "store")
        shutil.copytree(self.backup, self.data / "store")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def programs(place: Place, tmp_path: Path) -> Iterator[Processes]:
    started = Processes(place.settings, tmp_path)
    yield started
    started.kill()


def up(programs: Processes) -> Process:
    process = programs.start("-m", "worker", "up")
    ready(process)
    return process


def end(process: Process) -> None:
    process.send(signal.SIGTERM)
    assert process.wait() == 0, process.log


def admits(app: App) -> bool:
    claims = {
        "repository": "octo/widgets", "repository_id": str(REPOSITORY), "repository_owner": "octo",
        "repository_owner_id": str(OWNER), "event_name": "push",
        "job_workflow_ref": "octo/widgets/.github/workflows/release.yml@refs/heads/main",
    }  # fmt: skip
    with Redis.from_url(app.settings.store_url()) as redis:
        return Reader(redis).evaluate(claims).grant is not None


def known(app: App) -> Policy:
    policy = app.policies.load(["pol-1"])["pol-1"].policy
    assert policy is not None
    return policy


def test_a_restored_backup_opens_nothing(place: Place, programs: Processes, tmp_path: Path) -> None:
    """Given a policy that was closed after the backup, when that is restored, then nobody publishes until an operator says so,
    and what comes then is newer than whatever was published before.
    """
    first = up(programs)
    with place.app() as app:
        put_and_ring(app, registration(app, "pol-1"), login(app, "pol-1"))
        wait_until(lambda: state(app, "pol-1") == "active" and idle(app), "active")
        assert admits(app)
    end(first)
    shutil.copytree(place.data / "store", place.backup)
    second = up(programs)
    with place.app() as app:
        for n in range(3):
            put_and_ring(app, about_repository(app, "archived", f"archived-{n}"))
            wait_until(lambda: state(app, "pol-1") == "disabled", "closed")
            put_and_ring(app, about_repository(app, "unarchived", f"unarchived-{n}"))
            wait_until(lambda: state(app, "pol-1") == "active", "open")
        put_and_ring(app, about_repository(app, "archived", "archived-last"))
        wait_until(lambda: state(app, "pol-1") == "disabled" and idle(app), "closed")
        lost = known(app).revision
    end(second)
    place.restore()

    third = up(programs)
    with place.app() as app:
        # As the store knows it, and closed all the same.
        view = known(app).view
        assert view is not None
        assert view["state"] == "active"
        assert not admits(app)
        tenure = Tenure(tmp_path, app.settings.store_url())
        shown = tenure("recover")
        assert shown.code == 0
        assert "lost since" in shown.out
        assert tenure("doctor").code == 1
        assert tenure("recover", "--accept").code == 2
        assert tenure("recover", "--accept", "--reason", "the registry has sent all of it again").code == 0
        assert admits(app)
        assert tenure("recover").code == 3
        put_and_ring(app, about_repository(app, "archived", "archived-anew"))
        wait_until(lambda: state(app, "pol-1") == "disabled", "closed")
        assert lost < known(app).revision == REVISIONS + 1
        assert "recovery.accepted" in [entry.action for entry in app.audit.since(0)]
    end(third)


def test_a_restart_opens_and_closes_nothing(place: Place, programs: Processes) -> None:
    first = up(programs)
    with place.app() as app:
        put_and_ring(app, registration(app, "pol-1"))
        wait_until(lambda: state(app, "pol-1") == "provisional", "provisional")
    first.send(signal.SIGKILL)
    first.wait()
    wait_until(lambda: not _locked(place), "the store has ended, too", 20)
    second = up(programs)
    with place.app() as app:
        assert admits(app)
        assert app.epochs.recovery() is None
    end(second)


def _locked(place: Place) -> bool:
    with (place.data / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False
