"""What every command shares: the parts that it works on, and how it ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Annotated, NamedTuple, TextIO

import typer

from worker import app, logs, settings
from worker.app import App
from worker.cli import output
from worker.lifecycle.policy import Policy
from worker.lifecycle.views import View
from worker.local.valkey import EmbeddedError
from worker.logs import scrubbed
from worker.settings import SettingsError
from worker.store.client import StoreError
from worker.store.keys import Partition
from worker.store.policies import UnreadableError

PolicyId = Annotated[str, typer.Argument(metavar="ID", help="The policy's id.")]
AsJson = Annotated[bool, typer.Option("--json", help="For machines: JSON, an object a line.")]


class Exit(IntEnum):
    """Exit codes (contract, section 6)."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOTHING = 3
    PARTLY = 4
    UNREACHABLE = 5


def opened(ctx: typer.Context) -> App:
    """The parts of Tenure, connected, with warnings on stderr, or all that is logged with --verbose.

    Raises:
        SettingsError: a setting is missing or bad.
        StoreError: the store cannot be reached.
    """
    configuration = settings.load()
    logs.configure("debug" if ctx.obj else "warning", configuration.log_format)
    return app.build(configuration)


def stated(reason: str | None) -> str:
    """Why, if it was said.

    Raises:
        typer.BadParameter: it was not.
    """
    if reason is None or not reason.strip():
        raise typer.BadParameter("say why; it goes into the audit trail", param_hint="--reason")
    return reason.strip()


def failure(error: Exception) -> tuple[Exit, str] | None:
    """The exit code and the one line for an error that an operator can mend; None for any other."""
    if isinstance(error, SettingsError):
        return Exit.USAGE, str(error)
    if isinstance(error, StoreError):
        return Exit.UNREACHABLE, f"the store cannot be reached: {' '.join(scrubbed(str(error)).split())}"
    if isinstance(error, EmbeddedError | UnreadableError):
        return Exit.FAILED, str(error)
    return None


def ended(code: Exit, message: str) -> typer.Exit:
    """Raise this to end with a line on stderr."""
    output.note(f"tenure: {message}")
    return typer.Exit(code)


NAMED = 50
"""Unreadable records that are named one by one."""


def say_unreadable(policy_ids: Sequence[str]) -> None:
    """Name the policies whose records cannot be read, if there are any.

    Raises:
        typer.Exit: there are: the rest was done (4).
    """
    if not policy_ids:
        return
    for policy_id in policy_ids[:NAMED]:
        output.note(f"policy {policy_id}: its record cannot be read; restore it from a backup, or register it anew")
    if len(policy_ids) > NAMED:
        output.note(f"… and {len(policy_ids) - NAMED} more")
    raise typer.Exit(Exit.PARTLY)


class RegisteredPolicy(NamedTuple):
    """A policy that was registered."""

    home: Partition
    policy: Policy
    view: View


def registered_policy(app: App, policy_id: str) -> RegisteredPolicy:
    """The policy with this id.

    Raises:
        typer.Exit: nobody registered it.
        UnreadableError: its record is broken.
    """
    located = app.policies.load([policy_id])[policy_id]
    home, policy = located.home, located.read(policy_id)
    if policy is None or policy.view is None:
        raise ended(Exit.NOTHING, f"no policy has the id {policy_id}")
    return RegisteredPolicy(home, policy, policy.view)


@contextmanager
def target(name: str) -> Iterator[TextIO]:
    """What a command writes to: stdout for a dash, or a file that is replaced only when all of it is written.

    Raises:
        typer.Exit: the file cannot be written.
    """
    if name == "-":
        yield sys.stdout
        return
    part = Path(f"{name}.part")
    try:
        with part.open("w", encoding="ascii") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        part.replace(name)
    except OSError as error:
        raise ended(Exit.FAILED, f"cannot write {name}: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)
