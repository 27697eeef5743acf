"""The command line, for operators.

A command's module, and with it all that it needs, is loaded when the command is called. So `--version`, `--help` and the
completion of its name wait for nothing else, and no process has what its command does not need.
"""

from __future__ import annotations

import io
import sys
from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer._click import Command, Context
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command


class LazyCommand(NamedTuple):
    """A command before it is loaded."""

    module: str
    help: str
    """How its help begins."""


COMMANDS = {
    "up": LazyCommand("worker.cli.up", "Run everything on this machine"),
    "web": LazyCommand("worker.cli.web", "Run the HTTP API"),
    "worker": LazyCommand("worker.cli.worker", "Run workers"),
    "scheduler": LazyCommand("worker.cli.scheduler", "Run the scheduler"),
    "demo": LazyCommand("worker.cli.demo", "Play the whole story on a stack of its own"),
    "policy": LazyCommand("worker.cli.policy", "Look at policies, and act on them"),
    "hold": LazyCommand("worker.cli.switches", "Hold many policies at once"),
    "release": LazyCommand("worker.cli.switches", "End what `tenure hold` began"),
    "dead": LazyCommand("worker.cli.dead", "Dead letters: look at them, replay and drop them"),
    "find": LazyCommand("worker.cli.find", "Find by any id or name: an event, a policy, a letter, a replay"),
    "changes": LazyCommand("worker.cli.changes", "Show what was published"),
    "consumer": LazyCommand("worker.cli.consumer", "Named consumers of the change feed: how far they are, forget one"),
    "sweep": LazyCommand("worker.cli.sweep", "Verify all policies with GitHub now"),
    "audit": LazyCommand("worker.cli.audit", "Show what operators did"),
    "doctor": LazyCommand("worker.cli.doctor", "Look at settings, store, queue, workers and clock; say what is wrong"),
    "clock": LazyCommand("worker.cli.clock", "Show the store's clock and Tenure's time"),
    "partitions": LazyCommand("worker.cli.partitions", "Show how many partitions the store has"),
    "recover": LazyCommand(
        "worker.cli.recover", "Show since when the store lacks what was written, and what brings it back"
    ),
}


def loaded(name: str) -> Command:
    """A command, or the group of commands, with its options."""
    alone = typer.Typer(add_completion=False)
    import_module(COMMANDS[name].module).register(alone)
    command = get_command(alone)
    return command.commands[name] if isinstance(command, TyperGroup) else command


class Commands(TyperGroup):
    """All of them, each loaded when it is called."""

    def __init__(self, **attributes: Any) -> None:
        named = {name: TyperCommand(name, help=f"{entry.help}.") for name, entry in COMMANDS.items()}
        super().__init__(**{**attributes, "commands": named})

    def resolve_command(self, ctx: Context, args: list[str]) -> tuple[str | None, Command | None, list[str]]:
        if args and args[0] in COMMANDS:
            return args[0], loaded(args[0]), args[1:]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=Commands,
    name="tenure",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version  # noqa: PLC0415 - start-up time

        typer.echo(f"tenure {version('tenure')}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    *,
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Say more on stderr: what is done, and how."),
    _: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version, and exit."),
) -> None:
    """Keeps Trusted Publishing policies up to date, from GitHub's events to the token exchange.

    Data goes to stdout, messages to stderr; --json on every reading command is for machines.

    Exit codes: 0 done, 1 failed, 2 usage or settings, 3 nothing matched, 4 partly done, 5 a backend cannot be reached.

    Something wrong? `tenure doctor` looks at everything and says what to do.
    """
    ctx.obj = verbose


def main() -> None:
    """The `tenure` command. What an operator can mend is one line on stderr and an exit code, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show a character is no reason to fail.
            stream.reconfigure(errors="backslashreplace")
    try:
        app(prog_name="tenure")
    except Exception as error:
        from worker.cli.session import failure  # noqa: PLC0415 - start-up time

        failure_text = failure(error)
        if failure_text is None:
            raise
        code, message = failure_text
        sys.stderr.write(f"tenure: {message}\n")
        sys.exit(code)
