"""`tenure partitions`: another number of partitions."""

from __future__ import annotations

import time
import uuid
from typing import Annotated, cast

import typer

from tenure_reader.keys import MAX_PARTITIONS, PARTITIONS
from worker.cli import output
from worker.cli.policy_acts import operator
from worker.cli.session import Exit, ended, stated
from worker.lifecycle.facts import SECOND
from worker.settings import load
from worker.store.client import Client, Command, connect
from worker.store.inbox import LANES
from worker.store.keys import Keyspace
from worker.store.partitioning import PartitionsError, Phase, Repartitioning, change_of, living
from worker.store.upgrade import UpgradeError, upgrade

PHASES = {Phase.COPY: "copied", Phase.DROP: "dropped what was copied", Phase.PLACE: "placed"}


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command()(partitions)


def partitions(
    number: Annotated[int | None, typer.Argument(min=1, max=MAX_PARTITIONS, help="How many there are to be.")] = None,
    *,
    apply: Annotated[bool, typer.Option("--apply", help="Do it; else only show what that would do.")] = False,
    reason: Annotated[str | None, typer.Option(help="Why; goes into the audit trail.")] = None,
) -> None:
    """Show how many partitions the store has; with a number and --apply --reason, give it that many.

    All processes and the API have to be ended. Policies, their histories and logins, events that wait and dead letters are
    brought along. The feed begins anew, so whoever follows it loads all again; an event that was settled before is handled
    again if it is sent again. If this is interrupted, do it again. Exit code 3 if there is nothing to do.
    """
    why = stated(reason) if apply else ""
    client = Client(connect(load().store_url()))
    stored = int(cast("bytes | None", client.one(Command(("GET", PARTITIONS)))) or b"0")
    change = change_of(client)
    if number is None or not apply:
        _show(client, stored, number)
        return
    if change is None and stored == number:
        raise ended(Exit.NOTHING, f"nothing to do: the store has {stored} partitions")
    doing = Repartitioning(client, uuid.uuid4().hex, lambda duration: time.sleep(duration / SECOND))
    begun = time.monotonic()
    try:
        if stored and change is None:
            upgrade(client, Keyspace(stored), uuid.uuid4().hex, lambda: time.sleep(0.2))
        with output.progress("Partitions", None) as advance:
            for _ in doing.run(number, by=operator(), reason=why):
                advance()
    except (PartitionsError, UpgradeError) as error:
        raise ended(Exit.FAILED, str(error)) from None
    took = time.monotonic() - begun
    copied = ", ".join(f"{count} {what}" for what, count in sorted(doing.counts.items())) or "nothing"
    output.note(
        f"{number} partitions, in {took:.1f} s; copied: {copied}. Set TENURE_PARTITIONS={number} for all services"
    )


def _show(client: Client, stored: int, number: int | None) -> None:
    change = change_of(client)
    output.line(f"partitions  {stored}")
    if change is not None:
        raise ended(Exit.FAILED, change.advice)
    homes = Keyspace(stored).all()
    policies = sum(cast("list[int]", client.run([Command(("HLEN", home.revisions)) for home in homes])))
    waiting = [Command(("ZCARD", home.waiting(lane))) for home in homes for lane in LANES]
    dead = [Command(("ZCARD", home.dead)) for home in homes]
    output.line(f"policies    {policies}")
    output.line(f"waiting     {sum(cast('list[int]', client.run(waiting)))}")
    output.line(f"dead        {sum(cast('list[int]', client.run(dead)))}")
    if number is not None and number != stored:
        names = living(client)
        first = f"end all processes and the API ({', '.join(names)} live), then " if names else ""
        output.note(f"{first}give --apply --reason; until it is done, no policy is usable, and the feed begins anew")
