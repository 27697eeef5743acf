"""A store that went back in time is noticed, once; one that was only restarted is not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from worker.app import App
from worker.local.valkey import EmbeddedStore
from worker.operators.recovery import accept
from worker.store.client import Command, StoreError
from worker.store.epoch import Epochs, Noticed, Recovery, StoreWitness
from worker.store.switches import Scope, TooManyError


class Host:
    """Processes that share a witness; what they closed is in `closed`."""

    def __init__(self, app: App, folder: Path) -> None:
        self._app = app
        self.folder = folder
        self.closed: list[Recovery] = []

    def process(self, new_id: str = "1f") -> Epochs:
        return Epochs(
            self._app.client,
            self._app.keyspace,
            StoreWitness(self.folder),
            new_id=lambda: new_id,
            close=self.closed.append,
        )


@pytest.fixture
def host(app: App, tmp_path: Path) -> Host:
    return Host(app, tmp_path / "apart")


def restored(store: EmbeddedStore, backup: Path) -> None:
    """Replace the store's data by those of a backup."""
    store.stop()
    shutil.rmtree(store.directory)
    shutil.copytree(backup, store.directory)
    store.start()


def backup_of(store: EmbeddedStore, tmp_path: Path) -> Path:
    assert store.running
    return Path(shutil.copytree(store.directory, tmp_path / "backup"))


@pytest.mark.one_server("it has no replica")
def test_a_beat_that_a_failover_may_lose_proves_nothing(app: App, tmp_path: Path) -> None:
    """Given a setting that wants a replica, and none that is there, when the store beats, then nobody counts on it later."""
    folder = tmp_path / "other"
    closed: list[Recovery] = []
    epochs = Epochs(
        app.client, app.keyspace, StoreWitness(folder), new_id=lambda: "1f", close=closed.append, replicas=1
    )
    assert epochs.beat() == Noticed()
    assert not folder.exists()
    app.client.one(Command(("HINCRBY", "tenure:epoch", "beats", -1)))
    assert epochs.beat() == Noticed()
    assert not closed


@pytest.mark.one_server("it is stopped, or its files are replaced")
@pytest.mark.parametrize("killed", [False, True])
def test_a_restart_is_no_new_epoch(host: Host, store: EmbeddedStore, killed: bool) -> None:
    """Given a store that ended and was started again, when old and new processes look, then nothing is closed."""
    running = host.process()
    for _ in range(3):
        running.beat()
    if killed:
        store.kill()
    else:
        store.stop()
    with pytest.raises(StoreError):
        running.beat()
    store.start()
    running.beat()
    host.process().beat()
    assert host.closed == []
    assert running.recovery() is None


@pytest.mark.one_server("it is stopped, or its files are replaced")
def test_a_restored_backup_is_noticed_at_the_start(host: Host, app: App, store: EmbeddedStore, tmp_path: Path) -> None:
    """Given a backup that was restored while nothing ran, when processes start, then all is closed, and one epoch begins."""
    before = host.process()
    before.beat()
    app.status.beat("worker", "w")
    noted = app.status.now()
    backup = backup_of(store, tmp_path)
    for _ in range(5):
        before.beat()
    restored(store, backup)
    later = [host.process(), host.process()]
    for process in later:
        process.beat()
    assert {found.epoch for found in host.closed} == {2}
    assert host.closed[0].since <= noted <= host.closed[0].found
    # Also whoever had seen the most of what is lost.
    before.beat()
    for process in [*later, host.process()]:
        process.beat()
    assert {found.epoch for found in host.closed} == {2}


@pytest.mark.one_server("it is stopped, or its files are replaced")
def test_a_restore_under_running_processes_is_noticed(host: Host, store: EmbeddedStore, tmp_path: Path) -> None:
    """Given processes without a file to look into, when the store goes back under them, then the first that looks notices."""
    running = host.process()
    running.beat()
    backup = backup_of(store, tmp_path)
    running.beat()
    running.beat()
    restored(store, backup)
    shutil.rmtree(host.folder)
    running.beat()
    assert [found.epoch for found in host.closed] == [2]


@pytest.mark.one_server("it is stopped, or its files are replaced")
def test_whoever_could_not_close_does_so_later(host: Host, store: EmbeddedStore, app: App, tmp_path: Path) -> None:
    """Given a process that found out and then ended, or failed, when any looks next, then it closes."""
    running = host.process()
    running.beat()
    backup = backup_of(store, tmp_path)
    for _ in range(3):
        running.beat()
    restored(store, backup)

    def fail(_: Recovery) -> None:
        raise StoreError

    failing = Epochs(app.client, app.keyspace, StoreWitness(host.folder), new_id=lambda: "1f", close=fail)
    for _ in range(2):
        with pytest.raises(StoreError):
            failing.beat()
    assert host.closed == []
    host.process().beat()
    assert [found.epoch for found in host.closed] == [2]


@pytest.mark.one_server("it is stopped, or its files are replaced")
def test_what_was_opened_again_stays_open(host: Host, store: EmbeddedStore, app: App, tmp_path: Path) -> None:
    """Given a recovery that was accepted, when processes start, then nothing is closed; when it goes back again, all is."""
    running = host.process()
    running.beat()
    backup = backup_of(store, tmp_path)
    running.beat()
    running.beat()
    restored(store, backup)
    running.beat()
    running.accept(host.closed[0], app.status.now())
    host.closed.clear()
    host.process().beat()
    assert host.closed == []
    restored(store, backup)
    host.process().beat()
    (again,) = host.closed
    assert again.epoch == 3
    # Too late: that was the recovery before.
    running.accept(again._replace(epoch=2), app.status.now())
    recovery = running.recovery()
    assert recovery is not None
    assert recovery.accepted is None


def test_a_witness_that_cannot_be_read_or_written_stops_nothing(app: App, tmp_path: Path) -> None:
    """Given a folder that is a file, or garbage in it, when processes look, then they go on without."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    host = Host(app, blocked)
    assert not StoreWitness(blocked).writable()
    host.process().beat()
    host.folder = tmp_path / "apart"
    host.process().beat()
    (kept,) = host.folder.iterdir()
    for garbage in ("", "[]", "{", '{"epoch": "x", "beats": 1}'):
        kept.write_text(garbage)
        host.process().beat()
    assert host.closed == []


@pytest.mark.one_server("it is stopped, or its files are replaced")
def test_whoever_only_looks_writes_nothing_unless_it_went_back(
    host: Host, app: App, store: EmbeddedStore, tmp_path: Path
) -> None:
    running = host.process()
    running.beat()
    backup = backup_of(store, tmp_path)
    running.beat()
    running.beat()
    before = app.client.redis.hgetall("tenure:{all}:epoch")
    host.process().check()
    assert app.client.redis.hgetall("tenure:{all}:epoch") == before
    restored(store, backup)
    host.process().check()
    assert [found.epoch for found in host.closed] == [2]
    host.process().check()
    assert [found.epoch for found in host.closed] == [2, 2]


def test_everything_closes_however_many_switches_there_are(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given as many switches as there may be, when the store went back, then everything is closed, and opened for that alone."""
    monkeypatch.setattr("worker.store.switches.MOST", 2)
    for owner in ("1", "2"):
        app.switches.close(Scope("owner", owner), reason="r", by="maria", at=1, request_id=owner)
    with pytest.raises(TooManyError):
        app.switches.close(Scope("owner", "3"), reason="r", by="maria", at=1, request_id="3")
    recovery = Recovery(epoch=2, since=1, found=2, accepted=None)
    app.recoveries.close(recovery)
    app.recoveries.close(recovery)
    assert [switch.scope for switch in app.switches.all()] == ["all", "owner:1", "owner:2"]
    assert not app.recoveries.open(recovery, by="maria", reason="r", at=3)
    assert [switch.scope for switch in app.switches.all()] == ["owner:1", "owner:2"]


def test_what_an_operator_closed_stays_closed(app: App) -> None:
    app.switches.close(Scope("all"), reason="r", by="maria", at=1, request_id="hers")
    recovery = Recovery(epoch=2, since=1, found=2, accepted=None)
    app.recoveries.close(recovery)
    assert app.recoveries.open(recovery, by="maria", reason="r", at=3)
    assert [switch.switch_id for switch in app.switches.all()] == ["hers"]


def test_what_was_accepted_too_late_opens_nothing(app: App) -> None:
    """Given a store that went back again while an operator accepted the time before, then everything stays closed."""
    first = Recovery(epoch=2, since=1, found=2, accepted=None)
    app.recoveries.close(first)
    app.client.redis.hset("tenure:{all}:epoch", mapping={"epoch": 3, "since": 3, "found": 4})
    accept(app, first, by="maria", reason="r")
    assert [switch.switch_id for switch in app.switches.all()] == ["recovery-3"]
