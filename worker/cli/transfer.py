"""`tenure policy export` and `import`: policies with all that is known of them, as JSON lines."""

from __future__ import annotations

import codecs
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, BinaryIO, cast

import typer

from worker.app import App
from worker.cli import output
from worker.cli.import_lines import BadLineError, Importer, Line, read
from worker.cli.policy_acts import operator
from worker.cli.session import Exit, ended, opened, say_unreadable, target
from worker.lifecycle.policy import Policy
from worker.operators.submit import submit
from worker.store.client import StoreError
from worker.store.codec import fits, row

BATCH = 500
"""Policies read, or events submitted, at once."""
SHOWN = 50
"""Bad lines that are named one by one."""


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command("export")(export)
    app.command("import")(import_)


def export(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="[FILE|-]", help="Where to; a dash is stdout.")] = "-",
) -> None:
    """Write every policy, the removed ones too, as a line of JSON: its id and all facts.

    Imported into an empty store, it stands where it stood. A file is replaced only when all of it is written. Exit code 4
    if a record cannot be read: all others are exported, and it is named.
    """
    app = opened(ctx)
    count, unreadable = 0, list[str]()
    with target(name) as out, output.progress("Exporting", None) as advance:
        for policy in _every(app, unreadable):
            line = {"policy_id": policy.policy_id, "facts": [row(fact) for fact in policy.facts.values()]}
            out.write(output.as_json(line) + "\n")
            count += 1
            advance()
    output.note(f"exported {count} policies")
    say_unreadable(sorted(set(unreadable)))


def _every(app: App, unreadable: list[str]) -> Iterator[Policy]:
    """Every policy; ids of those that cannot be read are added to `unreadable`. The removed ones are in no index, so the directory is read; an id may come twice."""
    for ids in app.policies.ids(BATCH):
        for policy_id, located in app.policies.load(ids).items():
            if located.broken or (located.policy is not None and not fits(located.policy.view)):
                unreadable.append(policy_id)
            elif located.policy is not None:
                yield located.policy


@dataclass(slots=True)
class ImportTally:
    """What became of the lines of an import."""

    new: int = 0
    updated: int = 0
    unchanged: int = 0
    bad: int = 0
    failed: int = 0

    @property
    def count(self) -> int:
        return self.new + self.updated + self.unchanged

    def __str__(self) -> str:
        return (
            f"{self.new} new, {self.updated} updated, {self.unchanged} unchanged"
            f"{f', {self.bad} bad' if self.bad else ''}{f', {self.failed} failed' if self.failed else ''}"
        )


def import_(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(metavar="FILE|-", help="What to read; a dash is stdin.")],
    *,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Import the good lines although others are bad; exit code 4.")
    ] = False,
    reason: Annotated[str | None, typer.Option(help="Why; goes into the audit trail.")] = None,
) -> None:
    """Read policies as JSON lines: what `export` wrote, or the data of policy.registered, with "time" if you like.

    Every line is checked first; if one is bad, its fields are named and nothing is imported. Importing twice changes
    nothing, so an import that was interrupted is finished by running it again. Exit code 4 if only a part was done.
    """
    tally = ImportTally()
    with _source(source) as file:
        app = opened(ctx)
        total = _check(app, file, tally)
        if tally.bad and not skip_bad:
            raise ended(Exit.FAILED, f"{tally.bad} of {total} lines are bad; nothing was imported (see --skip-bad)")
        about: dict[str, object] = {"file": source, "lines": total - tally.bad}
        app.audit.record("import.started", by=operator(), reason=reason, subjects=(), details=about)
        importer = Importer(app.settings.rules, app.settings.aliases, app.policies.remembered)
        with output.progress("Importing", total - tally.bad) as advance:
            try:
                for batch in _batches(app, file):
                    _import(app, importer, batch, tally)
                    advance(len(batch))
            except StoreError:
                output.note(f"stopped after {tally.count} of {total} lines; run it again to go on")
                raise
    app.audit.record("import.ended", by=operator(), reason=reason, subjects=(), details=about | asdict(tally))
    output.note(f"imported {total} lines: {tally}")
    if tally.bad or tally.failed:
        raise typer.Exit(Exit.PARTLY if tally.count else Exit.FAILED)


@contextmanager
def _source(source: str) -> Iterator[BinaryIO]:
    """The lines, to be read twice."""
    if source == "-":
        with tempfile.TemporaryFile() as spool:
            shutil.copyfileobj(sys.stdin.buffer, spool)
            yield cast("BinaryIO", spool)
        return
    with ExitStack() as stack:
        try:
            file = stack.enter_context(Path(source).open("rb"))
        except OSError as error:
            raise ended(Exit.FAILED, f"cannot read {source}: {error.strerror}") from None
        yield file


def _lines(app: App, file: BinaryIO) -> Iterator[tuple[int, Line | Exception]]:
    """Each line that is not blank, with its number: what it says, or what is wrong with it."""
    file.seek(0)
    now = app.status.now()
    for number, text in enumerate(file, 1):
        # Some editors begin a file with a mark of its encoding.
        written = text.removeprefix(codecs.BOM_UTF8) if number == 1 else text
        if not written.strip():
            continue
        try:
            yield number, read(written, now, app.settings.rules)
        except BadLineError as error:
            yield number, error


def _check(app: App, file: BinaryIO, tally: ImportTally) -> int:
    """Look at every line and name what is bad. Returns how many lines there are."""
    total = 0
    with output.progress("Checking", None) as advance:
        for number, line in _lines(app, file):
            total += 1
            advance()
            if isinstance(line, Exception):
                tally.bad += 1
                if tally.bad <= SHOWN:
                    output.note(f"line {number}: {line}")
    if tally.bad > SHOWN:
        output.note(f"… and {tally.bad - SHOWN} more bad lines")
    return total


def _batches(app: App, file: BinaryIO) -> Iterator[list[tuple[int, Line]]]:
    """The good lines. No policy is in a batch twice, so that a later line meets what an earlier one did."""
    batch: dict[str, tuple[int, Line]] = {}
    for number, line in _lines(app, file):
        if isinstance(line, Exception):
            continue
        if line.policy_id in batch or len(batch) == BATCH:
            yield list(batch.values())
            batch = {}
        batch[line.policy_id] = number, line
    if batch:
        yield list(batch.values())


def _import(app: App, importer: Importer, batch: list[tuple[int, Line]], tally: ImportTally) -> None:
    now = app.status.now()
    loaded = app.policies.load([line.policy_id for _, line in batch])
    importer.recall(line for _, line in batch)
    submissions = []
    for number, line in batch:
        existing = loaded[line.policy_id].read(line.policy_id)
        try:
            submission = importer.submission(line, existing, now)
        except BadLineError as error:
            tally.failed += 1
            output.note(f"line {number}: {error}")
            continue
        if submission is None:
            tally.unchanged += 1
        else:
            submissions.append((number, existing is None, submission))
    for (number, new, _), verdict in zip(
        submissions, submit(app, [s for _, _, s in submissions], by=operator(), audited=False), strict=True
    ):
        if not verdict.done:
            tally.failed += 1
            output.note(f"line {number}: {verdict.error}")
        elif new:
            tally.new += 1
        else:
            tally.updated += 1
