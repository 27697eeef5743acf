"""The command line, for operators.

What the commands need is imported when they run, so that `--help` and completion answer at once.
"""

from __future__ import annotations

import io
import sys
from importlib.metadata import version

import typer

from worker.cli import audit, changes, clock, dead, demo, doctor, policy, serve, sweep
from worker.cli.session import Exit, failure

app = typer.Typer(
    name="tenure",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
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


serve.register(app)
demo.register(app)
policy.register(app)
dead.register(app)
changes.register(app)
sweep.register(app, policy.policies)
audit.register(app)
doctor.register(app)
clock.register(app)


def main() -> None:
    """The `tenure` command. What an operator can mend is one line on stderr and an exit code, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show a character is no reason to fail.
            stream.reconfigure(errors="backslashreplace")
    try:
        app(prog_name="tenure")
    except Exception as error:
        told = failure(error)
        if told is None:
            raise
        code, message = told
        sys.stderr.write(f"tenure: {message}\n")
        sys.exit(code)


__all__ = ["Exit", "app", "main"]
