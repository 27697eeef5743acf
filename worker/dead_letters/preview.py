"""What replaying dead letters would do, without doing it.

The letters are rehearsed in the order in which a replay puts them back, each on top of what the ones before it would
have changed: by the real handlers, the real settler and the real rules, on a store that is only read. A letter that
ended its workers is translated in a process of its own, which it may end.
"""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterable, Iterator
from enum import StrEnum
from multiprocessing.connection import Connection
from typing import NamedTuple

from handlers.base import Handled, Handler, Incoming
from handlers.table import handle
from worker.app import App
from worker.dead_letters.search import deadly, incoming
from worker.lifecycle.facts import Observation
from worker.lifecycle.policy import Policy
from worker.lifecycle.views import View, described
from worker.settling.processor import error_text
from worker.settling.settler import PAGE, Settler, Work
from worker.store.client import StoreError
from worker.store.dead import DeadLetter, Whole
from worker.store.policies import Located
from worker.store.rehearsal import DryRunPolicies

APART_SECONDS = 20.0
"""How long a letter that ended its workers may take to be translated."""
AT_ONCE = 2
_ROOM = threading.BoundedSemaphore(AT_ONCE)
"""Such processes that one process has at once: each is a whole interpreter."""
UNSEEN = frozenset({"revision", "updated_at"})
"""Fields of a view that every revision changes."""


class DryRunVerdict(StrEnum):
    """What a replay of a letter would come to."""

    CHANGES = "changes"
    """It would be seen: a change of at least one policy would be published."""
    LEARNT = "learnt"
    """It would be kept among the facts of policies, and nothing that others see would change."""
    MOOT = "moot"
    """Its policies know it already, or know something newer: nothing would change."""
    UNTOUCHED = "untouched"
    """No policy listens to what it says. It would be remembered for those that are registered later."""
    FAILS = "fails"
    """It would fail again."""
    GONE = "gone"
    """It is no dead letter any more."""


class PolicyEffect(NamedTuple):
    """What a replay would do to one policy."""

    policy_id: str
    before: View | None
    """As it stands; None if nobody registered it yet."""
    after: View | None
    change: str | None
    """What would be published: `policy.disabled`; None: nothing."""
    differences: dict[str, tuple[object, object]]
    """Field of the view → before and after."""
    learns: bool
    """Whether it would learn anything."""
    newer: list[dict[str, object]]
    """Facts of the same matter that are newer than what the letter says."""


class Effect(NamedTuple):
    """What a replay of one letter would do."""

    letter: DeadLetter
    verdict: DryRunVerdict
    error: str | None
    """The class of the error that it would fail with."""
    message: str | None
    policies: list[PolicyEffect]
    """Those that it touches, by id."""
    more: bool
    """It touches more than these: what it does to the others is not shown."""
    checks: tuple[str, ...]
    """What GitHub would be asked about, where it can be."""


def preview(app: App, letters: Iterable[DeadLetter]) -> Iterator[Effect]:
    """What a replay of these letters, in this order, would do. Writes nothing.

    Raises:
        StoreError: the store cannot be reached.
    """
    rehearsal = DryRunPolicies(app.client, app.keyspace)
    settler = Settler(rehearsal, app.settings.rules)
    for letter in letters:
        whole = app.dead.whole(letter)
        if whole is None:
            yield Effect(letter, DryRunVerdict.GONE, None, None, [], False, ())
            continue
        try:
            handled = apart(incoming(whole), handle) if deadly(whole) else handle(incoming(whole))
        except Exception as error:  # noqa: BLE001 - whatever it is, a worker would meet it too
            yield _failing(letter, error)
            continue
        yield _rehearsed(app, rehearsal, settler, whole, handled)


def _rehearsed(app: App, rehearsal: DryRunPolicies, settler: Settler, whole: Whole, handled: Handled) -> Effect:
    letter = whole.dead_letter
    rehearsal.begin()
    work = Work(incoming(whole).source, handled.observations, letter.received_at, aside=handled.aside)
    outcome = settler.settle([work], app.status.now(), page=PAGE)[0]
    if outcome.error is not None:
        if isinstance(outcome.error, StoreError):
            raise outcome.error
        return _failing(letter, outcome.error, handled.checks)
    policies = [
        _policy_effect(policy_id, located, rehearsal, work)
        for policy_id, located in sorted(rehearsal.seen.items())
        if located.exists or policy_id in rehearsal.steps
    ]
    return Effect(letter, _verdict(policies), None, None, policies, outcome.cursor is not None, handled.checks)


def _verdict(policies: list[PolicyEffect]) -> DryRunVerdict:
    if not policies:
        return DryRunVerdict.UNTOUCHED
    if any(policy.change for policy in policies):
        return DryRunVerdict.CHANGES
    if any(policy.learns and not policy.newer for policy in policies):
        return DryRunVerdict.LEARNT
    return DryRunVerdict.MOOT


def _policy_effect(policy_id: str, located: Located, rehearsal: DryRunPolicies, work: Work) -> PolicyEffect:
    policy, step = located.policy, rehearsal.steps.get(policy_id)
    before = policy.view if policy else None
    after = step.policy.view if step else before
    return PolicyEffect(
        policy_id=policy_id,
        before=before,
        after=after,
        change=step.change.value if step and step.change else None,
        differences=differences(before, after),
        learns=step is not None and (policy is None or step.policy.facts != policy.facts),
        newer=[described(fact) for fact in _newer(policy, work)] if policy else [],
    )


def differences(before: View | None, after: View | None) -> dict[str, tuple[object, object]]:
    """Every field of a view that differs, but its revision and date: before and after."""
    if after is None:
        return {}
    was = dict(before) if before is not None else dict.fromkeys(after)
    return {name: (was[name], value) for name, value in after.items() if name not in UNSEEN and was[name] != value}


def _newer(policy: Policy, work: Work) -> list[Observation]:
    dates = {(o.scope, o.aspect): o.at for o in work.concerning(policy)}
    return [fact for fact in policy.facts.values() if fact.at > dates.get((fact.scope, fact.aspect), fact.at)]


def _failing(letter: DeadLetter, error: Exception, checks: tuple[str, ...] = ()) -> Effect:
    return Effect(letter, DryRunVerdict.FAILS, type(error).__name__, _error_text(error), [], False, checks)


def _error_text(error: Exception) -> str:
    return str(error) if isinstance(error, WorkerLost) else error_text(error)


class WorkerLost(Exception):  # noqa: N818 - the name under which such letters are kept
    """It ends the process that translates it."""


def apart(event: Incoming, handler: Handler) -> Handled:
    """Translate an event in a process of its own, in which the handler is found by its name.

    Raises:
        WorkerLost: that ended without an answer, or gave none in time.
        Exception: what the handler raised.
    """
    with _ROOM:
        answer = _answered(event, handler)
    if isinstance(answer, Exception):
        raise answer
    if not isinstance(answer, Handled):
        raise WorkerLost("it ended the process that translated it, or kept it too long")
    return answer


def _answered(event: Incoming, handler: Handler) -> object:
    """What the process sent; None if it ended, or took too long."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_translate, args=(there, event, handler), daemon=True)
    process.start()
    there.close()
    try:
        return here.recv() if here.poll(APART_SECONDS) else None
    except EOFError:
        return None
    finally:
        process.kill()
        process.join()
        here.close()


def _translate(answer: Connection, event: Incoming, handler: Handler) -> None:
    try:
        answer.send(handler(event))
    except Exception as error:  # noqa: BLE001 - the one who asked looks at it
        answer.send(error)
