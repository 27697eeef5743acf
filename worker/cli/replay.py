"""`tenure dead replay`: what a replay would do, doing it, and watching, stopping or resuming one."""

from __future__ import annotations

import re
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from worker import dead_letters
from worker.app import App
from worker.cli import output
from worker.cli.filters import Everything, FilterOptions, Ids, Limit, filtered, selected
from worker.cli.policy_acts import operator
from worker.cli.session import AsJson, Exit, ended, opened, stated
from worker.dead_letters import SLOWEST, Effect, Progress, describe, preview
from worker.store.dead import DeadLetter

DEFAULT_RATE = f"{dead_letters.DEFAULT_RATE:g}/s"


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command("replay")(filtered(replay))


def replay(
    ctx: typer.Context,
    ids: Ids = None,
    *,
    picked: FilterOptions,
    everything: Everything = False,
    limit: Limit = None,
    apply: Annotated[bool, typer.Option("--apply", help="Do it; else only show what would happen.")] = False,
    reason: Annotated[str | None, typer.Option(help="Why; goes into the audit trail.")] = None,
    rate: Annotated[str, typer.Option(metavar="N/s", help="Letters a second, at most.")] = DEFAULT_RATE,
    status: Annotated[str | None, typer.Option(metavar="BATCH", help="Show how far a replay is.")] = None,
    stop: Annotated[str | None, typer.Option(metavar="BATCH", help="Stop a replay, wherever it runs.")] = None,
    resume: Annotated[str | None, typer.Option(metavar="BATCH", help="Go on with a stopped replay.")] = None,
    as_json: AsJson = False,
) -> None:
    """Put dead letters back into the inbox. Without --apply, show what each would do and change nothing.

    A letter keeps its date, so it cannot override anything newer. One that fails again is the same letter with one
    more attempt. Ctrl-C, or --stop from elsewhere, stops a replay; --resume goes on where it was.

    Exit codes: 0 all settled, 1 all failed again, 3 nothing fits, 4 some failed again, wait or are left.
    """
    pace = _rate(rate)
    batches = [batch for batch in (status, stop, resume) if batch is not None]
    if batches:
        if len(batches) > 1 or ids or everything or apply or any(part is not None for part in picked):
            raise typer.BadParameter("a batch has its letters; leave the other options out", param_hint="--status")
        _about_batch(opened(ctx), status=status, stop=stop, resume=resume, reason=reason, as_json=as_json)
        return
    why = stated(reason) if apply else ""
    picked.check(ids, everything=everything)
    app = opened(ctx)
    letters, missing = selected(app, picked, ids, limit)
    if apply:
        _apply(app, letters, missing, reason=why, rate=pace, picked=picked, named=bool(ids), as_json=as_json)
    else:
        _preview(app, letters, as_json=as_json)
        if missing:
            raise typer.Exit(Exit.PARTLY)


def _rate(text: str) -> float:
    match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)(?:/s)?", text.strip())
    if match is None or float(match[1]) < SLOWEST:
        raise typer.BadParameter(f"letters a second, at least {SLOWEST}: 50/s", param_hint="--rate")
    return float(match[1])


def _preview(app: App, letters: list[DeadLetter], *, as_json: bool) -> None:
    verdicts: Counter[str] = Counter()
    with output.progress("Rehearsing", len(letters)) as advance:
        for effect in preview(app, letters):
            verdicts[effect.verdict.value] += 1
            if as_json:
                output.line(output.as_json(describe.effect(effect)))
            else:
                _show(effect)
            advance()
    summary = ", ".join(f"{count} {MEANINGS[verdict]}" for verdict, count in verdicts.items())
    output.note(f"{summary}. Nothing was changed; add --apply --reason TEXT to replay")


MEANINGS = {
    "changes": "would change policies",
    "learnt": "would be learnt without a visible change",
    "moot": "would change nothing: what is known is as new or newer",
    "untouched": "would touch no policy, and be remembered",
    "fails": "would fail again",
    "gone": "gone meanwhile",
}


def _show(effect: Effect) -> None:
    """A line for the letter, each policy and each field; each begins with what it is about where nobody reads it."""
    letter = effect.letter
    text = f"{effect.error}: {effect.message}" if effect.error else MEANINGS[effect.verdict.value]
    _line("letter", "", letter.event_id, letter.name, letter.delivery, effect.verdict.value, text)
    for policy in effect.policies:
        newer = ", ".join(f"{fact['aspect']} of {fact['observed_at']}" for fact in policy.newer)
        newer_text = f"newer is known: {newer}" if newer else "-"
        _line("policy", "  ", letter.event_id, policy.policy_id, policy.change or "no change", newer_text)
        for name, (before, after) in policy.differences.items():
            _line("field", "    ", letter.event_id, policy.policy_id, name, _value(before), _value(after))
    if effect.more:
        _line("more", "  ", letter.event_id, "it touches more policies than are shown")


def _line(section: str, indent: str, letter_id: str, *rest: object) -> None:
    if not output.on_terminal():
        output.row(section, letter_id, *rest)
        return
    if section == "field":
        _, name, before, after = rest
        output.line(f"{indent}{output.clean(name)}: {output.clean(before)} → {output.clean(after)}")
        return
    first = (letter_id, *rest) if section == "letter" else rest
    output.line(indent + "  ".join(output.clean(cell) for cell in first))


def _value(value: object) -> str:
    return value if isinstance(value, str) else output.as_json(value)


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Set by Ctrl-C and SIGTERM, so that a replay stops between two letters, and says so in the audit trail."""
    stop = threading.Event()
    signals = (signal.SIGINT, signal.SIGTERM)
    former = [signal.signal(number, lambda *_: stop.set()) for number in signals]
    try:
        yield stop
    finally:
        for number, handler in zip(signals, former, strict=True):
            signal.signal(number, handler)


def _apply(
    app: App,
    letters: list[DeadLetter],
    missing: int,
    *,
    reason: str,
    rate: float,
    picked: FilterOptions,
    named: bool,
    as_json: bool,
) -> None:
    batch = dead_letters.batch_id()
    output.note(f"replay {batch}: {len(letters)} letters; watch it with `tenure dead replay --status {batch}`")
    selection = {"ids": [x.event_id for x in letters[:100]]} if named else picked.filter(app.status.now()).described()
    with output.progress("Replaying", len(letters)) as advance, _interruptible() as stop:
        ended_so = dead_letters.replay(
            app, letters, reason=reason, by=operator(), rate=rate, selection=selection, batch=batch, stop=stop,
            advance=advance,
        )  # fmt: skip
    _report(ended_so, as_json=as_json)
    code = _code(ended_so)
    if code or missing:
        raise typer.Exit(code or Exit.PARTLY)


def _about_batch(
    app: App, *, status: str | None, stop: str | None, resume: str | None, reason: str | None, as_json: bool
) -> None:
    try:
        if status is not None:
            _report(dead_letters.status(app, status), as_json=as_json)
            return
        if stop is not None:
            _report(dead_letters.stop_replay(app, stop, by=operator(), reason=reason), as_json=as_json)
            return
        assert resume is not None
        left = dead_letters.status(app, resume).left
        with output.progress("Replaying", left) as advance, _interruptible() as interrupted:
            progress = dead_letters.resume(app, resume, by=operator(), reason=reason, stop=interrupted, advance=advance)
    except dead_letters.UnknownReplayError as error:
        raise ended(Exit.NOTHING, str(error)) from None
    except dead_letters.ReplayError as error:
        raise ended(Exit.FAILED, str(error)) from None
    _report(progress, as_json=as_json)
    code = _code(progress)
    if code:
        raise typer.Exit(code)


def _code(progress: Progress) -> Exit:
    if progress.failed == progress.replay.total:
        return Exit.FAILED
    return Exit.PARTLY if progress.failed or progress.waiting or progress.left else Exit.DONE


def _report(progress: Progress, *, as_json: bool) -> None:
    text = describe.progress(progress)
    if as_json:
        output.line(output.as_json(text))
        return
    shown = {name: value for name, value in text.items() if name != "selection"}
    output.fields(shown, "replay")
    batch = progress.replay.batch
    if progress.left and not progress.running:
        output.note(f"{progress.left} letters are left; go on with `tenure dead replay --resume {batch}`")
    if progress.waiting:
        output.note(f"{progress.waiting} wait for a worker; look again with `tenure dead replay --status {batch}`")
    if progress.failed:
        output.note(f"{progress.failed} failed again; see `tenure dead list`")
