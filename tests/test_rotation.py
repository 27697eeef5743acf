"""Secrets in files rotate while a process runs, and never by a half-written file."""

from __future__ import annotations

import io
import os
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog
from structlog.typing import FilteringBoundLogger

from worker.settings import load
from worker.settings.rotation import LOOK_SECONDS, Rotation

CANARY = "canary-of-a-rotated-secret"


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


class Rotated:
    """A process whose tokens are in a file, and the hands of an operator."""

    def __init__(self, directory: Path) -> None:
        self.told = io.StringIO()
        log: FilteringBoundLogger = structlog.wrap_logger(structlog.PrintLogger(self.told))
        self.file = directory / "tokens"
        self.file.write_text("first-token\n", encoding="utf-8")
        self.clock = Clock()
        self.rotation = Rotation(load({"TENURE_REGISTRY_TOKENS_FILE": str(self.file)}), self.clock, log)
        self.look()

    def look(self) -> list[str]:
        """The tokens that count after one more look."""
        self.clock.now += LOOK_SECONDS
        return [token.get_secret_value() for token in self.rotation.settings().registry_tokens]


@pytest.fixture
def rotated(tmp_path: Path) -> Rotated:
    return Rotated(tmp_path)


def test_a_changed_file_counts_once_two_looks_agree(rotated: Rotated) -> None:
    rotated.look()
    rotated.file.write_text("second", encoding="utf-8")
    assert rotated.look() == ["first-token"]
    rotated.file.write_text("second-token\nfirst-token\n", encoding="utf-8")
    assert rotated.look() == ["first-token"]
    assert rotated.look() == ["second-token", "first-token"]


@pytest.mark.parametrize("content", ["", "second-token"])
def test_what_changed_while_nobody_asked_counts_for_whoever_asks_first(rotated: Rotated, content: str) -> None:
    """A token that was taken away hours ago opens nothing any more, not even once."""
    rotated.look()
    rotated.file.write_text(content, encoding="utf-8")
    hour_ago = time.time() - 3600
    os.utime(rotated.file, (hour_ago, hour_ago))
    assert rotated.look() == ([content] if content else [])


def test_a_file_that_takes_the_place_of_another_counts(rotated: Rotated, tmp_path: Path) -> None:
    """As mounted secrets change: by another file under the same name."""
    rotated.look()
    fresh = tmp_path / "fresh"
    fresh.write_text("other-token\n", encoding="utf-8")
    fresh.rename(rotated.file)
    rotated.look()
    assert rotated.look() == ["other-token"]


def test_an_emptied_file_takes_its_tokens_away(rotated: Rotated) -> None:
    rotated.file.write_text("", encoding="utf-8")
    rotated.look()
    assert rotated.look() == []


@pytest.mark.parametrize("content", [None, b"\xff\xfe", f"{CANARY}-é".encode()])
def test_what_cannot_be_used_changes_nothing_and_is_told_without_its_value(
    rotated: Rotated, content: bytes | None
) -> None:
    rotated.look()
    if content is None:
        rotated.file.unlink()
    else:
        rotated.file.write_bytes(content)
    rotated.look()
    assert rotated.look() == ["first-token"]
    told = rotated.told.getvalue()
    assert "TENURE_REGISTRY_TOKENS" in told
    assert CANARY not in told
    assert rotated.look() == ["first-token"]
    assert rotated.told.getvalue() == told
    rotated.file.write_text("second-token", encoding="utf-8")
    rotated.look()
    assert rotated.look() == ["second-token"]


def test_nothing_changes_while_nothing_changes(rotated: Rotated) -> None:
    rotated.look()
    before = rotated.rotation.settings()
    rotated.look()
    assert rotated.rotation.settings() is before


def test_a_change_between_start_and_first_look_counts(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("first-token", encoding="utf-8")
    settings = load({"TENURE_REGISTRY_TOKENS_FILE": str(file)})
    file.write_text("second-token", encoding="utf-8")
    clock = Clock()
    rotation = Rotation(settings, clock)
    rotation.settings()
    clock.now += LOOK_SECONDS
    assert [token.get_secret_value() for token in rotation.settings().registry_tokens] == ["second-token"]
