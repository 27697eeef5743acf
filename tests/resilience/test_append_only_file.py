"""What a crash leaves at the end of the append-only file is cut off; what was acknowledged is there, and a copy is kept."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from redis import Redis

from tests.conftest import wait_until
from worker.local.append_only_file import FOLDER, mend
from worker.local.supervisor import Supervisor
from worker.local.valkey import EmbeddedError, EmbeddedStore, free_port


@pytest.fixture
def written(tmp_path: Path) -> EmbeddedStore:
    """A store that was stopped, with some commands and a transaction in its file."""
    store = EmbeddedStore(tmp_path / "store", free_port())
    with store, Redis.from_url(store.url) as redis:
        for n in range(50):
            redis.set(f"key-{n}", "v" * n)
        pipeline = redis.pipeline(transaction=True)
        pipeline.set("first", "of two\r\n*1\r\n").set("second", "of two").execute()
    return store


def newest(store: EmbeddedStore, tmp_path: Path) -> Path:
    (path,) = (tmp_path / "store" / FOLDER).glob("*.incr.aof")
    return path


def holds_all(store: EmbeddedStore) -> None:
    with store, Redis.from_url(store.url) as redis:
        assert redis.dbsize() == 52
        assert redis.get("second") == b"of two"


@pytest.mark.parametrize(
    "tail",
    [
        b"\0" * 4096,
        b"\0",
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100\r\nhalf" + b"\0" * 5000,
        b"*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n" + b"\0" * 700,
        random.Random(7).randbytes(3000),
    ],
    ids=["zeros", "a zero", "half a command", "half a transaction", "garbage"],
)
def test_a_tail_that_a_crash_leaves_is_cut_off(written: EmbeddedStore, tmp_path: Path, tail: bytes) -> None:
    path = newest(written, tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole + tail)
    holds_all(written)
    (copy,) = path.parent.glob("*.damaged-*")
    assert copy.read_bytes() == whole + tail


def test_wherever_the_file_ends_what_was_whole_is_there(written: EmbeddedStore, tmp_path: Path) -> None:
    path = newest(written, tmp_path)
    whole = path.read_bytes()
    for missing in (1, 2, 9, 30, 60, 90):
        path.write_bytes(whole[:-missing] + b"\0" * 512)
        cut = mend(tmp_path / "store")
        assert cut is not None
        assert whole.startswith(path.read_bytes())
        cut.copy.unlink()
        with written, Redis.from_url(written.url) as redis:
            assert redis.dbsize() == 50
        path.write_bytes(whole)


def test_a_file_that_is_whole_or_only_short_is_left_alone(written: EmbeddedStore, tmp_path: Path) -> None:
    path = newest(written, tmp_path)
    whole = path.read_bytes()
    for end in (0, 5, 40):
        path.write_bytes(whole[: len(whole) - end])
        assert mend(tmp_path / "store") is None
        assert path.read_bytes() == whole[: len(whole) - end]
    path.write_bytes(b"")
    assert mend(tmp_path / "store") is None
    assert mend(tmp_path / "nowhere") is None


def test_damage_in_the_middle_is_not_cut_and_said(written: EmbeddedStore, tmp_path: Path) -> None:
    path = newest(written, tmp_path)
    whole = path.read_bytes()
    middle = whole.index(b"*3", len(whole) // 2)
    path.write_bytes(whole[:middle] + b"\0" * 64 + whole[middle:])
    with pytest.raises(EmbeddedError, match=rf"damaged at byte {middle}.*backup"):
        written.start()
    assert path.stat().st_size == len(whole) + 64


def test_a_store_that_cannot_start_is_tried_again_until_it_can(written: EmbeddedStore, tmp_path: Path) -> None:
    """Given a store whose directory cannot be used for a while, then the supervisor stays, says why, and it comes back."""
    written.start()
    supervisor = Supervisor([], written)
    folder, away = tmp_path / "store", tmp_path / "away"
    folder.rename(away)
    folder.write_text("a file where the directory should be")
    written.kill()
    try:
        for _ in range(3):
            supervisor.look_after_store()
        assert not written.running
        assert "are free on its disk" in written.why()
        folder.unlink()
        away.rename(folder)

        def back() -> bool:
            supervisor.look_after_store()
            return written.running

        wait_until(back, "the store is back")
        with Redis.from_url(written.url) as redis:
            assert redis.dbsize() == 52
    finally:
        written.stop()


def test_with_a_password_nobody_else_reads_the_store(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "store", free_port(), password="canary-of-the-store")
    with store, Redis.from_url(store.url) as redis, Redis(port=store.port) as stranger:
        assert redis.ping()
        with pytest.raises(Exception, match=r"(?i)auth"):
            stranger.get("x")
        arguments = Path(f"/proc/{store.pid}/cmdline").read_bytes()
        assert b"canary" not in arguments
        assert (tmp_path / "store").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "store" / "valkey.conf").stat().st_mode & 0o777 == 0o600
