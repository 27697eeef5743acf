"""A policy's standing in plain English: what blocks it, what would clear that, and what happens next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from worker.lifecycle.decide import USABLE, Standing, State, decide
from worker.lifecycle.facts import Facts, Micros, Observation
from worker.lifecycle.policy import Policy
from worker.lifecycle.reasons import ADVISORIES, REASONS, Reason, telling
from worker.lifecycle.rules import Rules
from worker.lifecycle.views import View, rfc3339
from worker.words.conditions import asked
from worker.words.text import when


@dataclass(frozen=True, slots=True)
class Point:
    """One reason or advisory of one policy; `fact` is the newest that tells of it, where one does."""

    name: str
    meaning: Reason
    fact: Observation | None

    def as_json(self) -> dict[str, object]:
        fact = self.fact
        return {
            "name": self.name,
            "means": self.meaning.means,
            "clears": self.meaning.clears,
            "since": fact and rfc3339(fact.at),
            "source": fact and fact.source._asdict(),
        }

    def described(self, now: Micros) -> str:
        fact_said = self.fact
        since = (
            f", as {fact_said.source.kind} said with {fact_said.source.event} at {when(fact_said.at, now)}"
            if fact_said
            else ""
        )
        return f"{self.name}: {self.meaning.means}{since}. What clears it: {self.meaning.clears}."


@dataclass(frozen=True, slots=True)
class Explanation:
    """What there is to say of a policy at `now`."""

    view: View
    standing: Standing
    reasons: list[Point]
    advisories: list[Point]
    coming: list[tuple[Micros, str]]
    """When the clock does what next."""
    now: Micros

    def as_json(self) -> dict[str, object]:
        window = self.standing.window
        return {
            "policy_id": self.view["policy_id"],
            "state": self.standing.state.value,
            "published_state": self.view["state"],
            "usable": self.standing.state in USABLE,
            "sentence": sentence(self.standing, None),
            "reasons": [reason.as_json() for reason in self.reasons],
            "advisories": [advisory.as_json() for advisory in self.advisories],
            "window": window and {"opened": rfc3339(window[0]), "closes": rfc3339(window[1])},
            "next": [{"at": rfc3339(at), "what": what} for at, what in self.coming],
        }

    def lines(self) -> Iterator[str]:
        view, standing = self.view, self.standing
        yield purpose(view)
        yield sentence(standing, self.now)
        if view["state"] != standing.state:
            yield (
                f"The published view still says {view['state']}: the clock has not got to it yet. Readers honour "
                "usable_until meanwhile; if this lasts, see whether a scheduler is running (`tenure doctor`)."
            )
        if self.reasons:
            yield "What blocks it:"
            yield from (f"- {reason.described(self.now)}" for reason in self.reasons)
        if self.advisories:
            yield "What its owner should know, and what does not block:"
            yield from (f"- {advisory.described(self.now)}" for advisory in self.advisories)
        if standing.state is State.REMOVED:
            return
        if standing.window is not None:
            yield window_sentence(standing, standing.window, self.now)
        if self.coming:
            yield "What the clock does next:"
            yield from (f"- {when(at, self.now)}: {what}" for at, what in self.coming)
        else:
            yield "The clock does nothing to it; it changes when something happens."


def explanation_of(policy: Policy, view: View, rules: Rules, now: Micros) -> Explanation:
    """What there is to say of a policy that was registered."""
    policy_id = policy.policy_id
    standing = decide(policy.facts, policy_id, now, rules)
    assert standing is not None, "a policy with a view was registered"
    return Explanation(
        view=view,
        standing=standing,
        reasons=[point(policy.facts, standing, policy_id, REASONS[name]) for name in standing.reasons],
        advisories=[point(policy.facts, standing, policy_id, ADVISORIES[name]) for name in standing.advisories],
        coming=list(to_come(standing, rules, now)),
        now=now,
    )


def point(facts: Facts, standing: Standing, policy_id: str, row: Reason) -> Point:
    """A reason or advisory with the newest fact that says so."""
    return Point(row.name, row, telling(row, facts, standing.tenure, policy_id))


def purpose(view: View) -> str:
    """What the policy is for."""
    environment = f" in the environment {view['environment']}" if view["environment"] else ""
    return (
        f"Policy {view['policy_id']} ({view['name']}) lets {view['workflow_file']} of {view['repository_owner']}/"
        f"{view['repository']}{environment} publish for {view['package_owner']['account']}.{_asking(view)}"
    )


def _asking(view: View) -> str:
    conditions = "; ".join(f"{name}: {wanted}" for name, wanted in asked(view))
    return f" It asks more of a token: {conditions}." if conditions else ""


def sentence(standing: Standing, now: Micros | None) -> str:
    """Where the policy stands; without a `now`, moments do not say how far away they are."""
    match standing.state:
        case State.ACTIVE:
            limit = f" until {when(standing.usable_until, now)}" if standing.usable_until else ", without a limit"
            return f"It is active: it may publish{limit}."
        case State.PROVISIONAL:
            until = "" if standing.usable_until is None else f" until {when(standing.usable_until, now)}"
            return f"It is provisional: it may publish{until}."
        case State.DISABLED:
            which = "this reason holds" if len(standing.reasons) == 1 else "any of these reasons holds"
            return f"It is disabled: it may not publish while {which}."
        case State.EXPIRED:
            closed = "" if standing.window is None else f" at {when(standing.window[1], now)}"
            return f"It is expired: its window closed{closed} before it had proven itself, and it may not publish."
        case State.REMOVED:
            return "It was removed. That is final: its id cannot be used again."


def to_come(standing: Standing, rules: Rules, now: Micros) -> Iterator[tuple[Micros, str]]:
    """What the clock alone will do, in the order of time."""
    if standing.state is State.REMOVED:
        return
    window = standing.window
    moments: list[tuple[Micros, str]] = []
    if standing.reminder_due is not None:
        moments.append(
            (standing.reminder_due, "`policy.expiring` is published, so that the registry can remind its owner")
        )
    if window is not None:
        moments.append((window[1], "the window closes, and the policy expires unless it has proven itself"))
    if standing.due is not None and (window is None or standing.due != window[1]):
        hours = rules.proof_max_age // 3_600_000_000
        moments.append((standing.due, f"the policy lapses, if GitHub cannot be heard by then ({hours} h limit)"))
    yield from ((at, what) for at, what in sorted(moments) if at > now)


def window_sentence(standing: Standing, window: tuple[Micros, Micros], now: Micros) -> str:
    opened_at, closes = (when(at, now) for at in window)
    proof = "the first successful login inside it makes the policy permanent"
    if standing.tenure.repository_id is not None:
        proof += ", and so does its repository becoming public"
    if standing.state is State.EXPIRED:
        return (
            f"Its window: opened {opened_at}, closed {closes}. What brings it back: `tenure policy renew`, or a login "
            "that happened inside the window and is reported late."
        )
    return f"Its window: opened {opened_at}, closes {closes}; {proof}."
