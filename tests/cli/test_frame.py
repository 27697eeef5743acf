"""What all commands share: help, streams, exit codes, and one line where others show a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.running import ROOT, Tenure
from worker.local.valkey import EmbeddedStore, free_port


@pytest.fixture
def alone(tmp_path: Path) -> Tenure:
    """The command, with no store set."""
    return Tenure(tmp_path, None)


def test_help_names_every_command_and_exit_code(alone: Tenure) -> None:
    shown = alone.done("--help")
    for word in ("policy", "changes", "doctor", "5 a backend cannot be reached", "--install-completion"):
        assert word in shown.out
    assert shown.err == ""


def test_help_needs_neither_the_store_nor_its_client(alone: Tenure) -> None:
    imported = subprocess.run(
        [sys.executable, "-c", "import sys, worker.cli; print(*sys.modules)"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert {"redis", "dramatiq", "pydantic", "worker.app", "worker.lifecycle"}.isdisjoint(imported.stdout.split())
    assert "explain" in alone.done("policy", "--help").out
    assert "No such command" in alone("polcy").err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("--version", 0),
        ("policy list", 3),
        ("policy show pol-1", 3),
        ("policy hold pol-1 --reason=x", 3),
        ("policy export", 0),
        ("policy recheck pol-1", 3),
        ("sweep --status", 0),
        ("dead list", 3),
        ("dead replay --all", 3),
        ("audit", 3),
        ("changes", 3),
        ("doctor", 1),
    ],
)
def test_a_command_starts_from_nothing(tenure: Tenure, arguments: str, code: int) -> None:
    """Other tests run copies of a process that has everything loaded: here each command loads what it needs."""
    ended = tenure.from_nothing(*arguments.split())
    assert ended.code == code, ended
    assert "Traceback" not in ended.err


def test_completion_knows_the_commands(alone: Tenure) -> None:
    completed = alone("", _TENURE_COMPLETE="complete_bash", COMP_WORDS="tenure policy ex", COMP_CWORD="2")
    assert completed.out.split() == ["explain", "export"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["policy", "show"],
        ["policy", "list", "--state", "removed"],
        ["policy", "list", "--reason", "bored"],
        ["policy", "hold", "p1"],
        ["policy", "hold", "p1", "--reason", " "],
        ["policy", "remove", "p1", "--reason", "no terminal to ask on"],
        ["changes", "--since", "yesterday"],
        ["changes", "--since", "2026-01-31T12:00:00"],
    ],
)
def test_usage(alone: Tenure, arguments: list[str]) -> None:
    ended = alone(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({}, "TENURE_REDIS_URL"),
        ({"TENURE_REDIS_URL": "http://canary@localhost"}, "TENURE_REDIS_URL"),
        ({"TENURE_REDIS_URL": "redis://localhost:1/0", "TENURE_PARTITIONS": "none"}, "TENURE_PARTITIONS"),
    ],
)
@pytest.mark.parametrize("command", [["policy", "list"], ["doctor", "--json"]])
def test_a_bad_setting_is_one_line_that_names_it(
    alone: Tenure, environment: dict[str, str], named: str, command: list[str]
) -> None:
    ended = alone(*command, **environment)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"tenure: {named}: ")
    assert len(ended.err.splitlines()) == 1
    assert "canary" not in ended.err


def test_another_number_of_partitions_is_refused(tenure: Tenure) -> None:
    ended = tenure("policy", "list", TENURE_PARTITIONS="3")
    assert ended.code == 2
    assert "TENURE_PARTITIONS" in ended.err


@pytest.mark.parametrize(
    "command", [["policy", "list"], ["policy", "explain", "p1"], ["policy", "export"], ["changes", "--follow"]]
)
def test_a_store_that_cannot_be_reached(tmp_path: Path, command: list[str]) -> None:
    ended = Tenure(tmp_path, f"redis://operator:canary@127.0.0.1:{free_port()}/0")(*command)
    assert (ended.code, ended.out) == (5, "")
    assert ended.err.startswith("tenure: the store cannot be reached: ")
    assert len(ended.err.splitlines()) == 1
    assert "canary" not in ended.err


def test_a_store_that_goes_away_while_it_is_followed(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path / "store", port=free_port()) as store:
        process = Tenure(tmp_path, store.url).start("changes", "--follow", "--since", "1m")
        Tenure(tmp_path, store.url).register("p1")
        assert process.stdout is not None
        assert "policy.provisioned" in process.stdout.readline()
        store.kill()
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (5, "")
    assert len(err.splitlines()) == 1
