"""Would this token match? One table of rules, tried in order; the first that fails is the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from tenure_reader.claims import Difference, Job
from tenure_reader.grants import Grant
from tenure_reader.times import Micros, utc

_NOBODY = "no policy lets this repository publish"

DIFFERENCES: dict[str, str] = {
    "claims_missing": "the token lacks claims that every token of GitHub Actions has",
    "claims_malformed": "a claim of the token has another form than GitHub gives it",
    "event_forbidden": "a run that was started by this event may not publish",
    "owner_id": _NOBODY,
    "repository_id": _NOBODY,
    "repository_name": _NOBODY,
    "name_reused": _NOBODY,
    "name_contradicted": _NOBODY,
    "workflow_unreadable": "the token names no workflow file",
    "workflow_repository": "the job ran a workflow of a repository that the policy does not name",
    "workflow_file": "the job ran another workflow file than the policy names",
    "environment": "the job did not run in the environment that the policy names",
    "window_closed": "the policy's time is over; its owner can renew it",
    "expired": "the policy's time is over; its owner can renew it",
    "disabled": "the policy is disabled; its owner can look up why",
    "removed": "the policy was removed",
}
"""What can differ → what may be told to whoever presents the token. It quotes no policy, and it does not tell a
repository that is not the policy's that there is one."""


class Stage(NamedTuple):
    """A rule that was tried, and how it went.

    `detail` may name what the policy wants, and why it is disabled: keep it from strangers. `told` may be shown to
    whoever presented the token.
    """

    stage: str
    outcome: Literal["passed", "failed", "skipped"]
    detail: str
    code: str = ""
    told: str = ""


@dataclass(frozen=True, slots=True)
class Match:
    """The answer for one policy, with every stage up to the first that failed. No id: there was no policy to ask."""

    policy_id: str | None
    matched: bool
    stages: tuple[Stage, ...]


class Question(NamedTuple):
    """What every rule looks at, beside the policy."""

    job: Job
    now: Micros
    known_as: str | None
    """Another name, by which policies with the token's repository id know it."""


def same(one: str, other: str) -> bool:
    """Equal but for the case of letters.

    Both ways, because there are letters that only one way maps onto others: the Kelvin sign becomes a k. Whoever may
    name an environment could otherwise make one that is protected by nothing and passes for another.
    """
    return one == other or (one.lower() == other.lower() and one.upper() == other.upper())


# The rules


def _owner(grant: Grant, question: Question) -> Difference | None:
    theirs = question.job.owner_id
    if theirs == grant["repository_owner_id"]:
        return None
    return Difference("owner_id", f"the policy is for owner id {grant['repository_owner_id']}, the token from {theirs}")


def _repository(grant: Grant, question: Question) -> Difference | None:
    job, registered = question.job, grant["repository_id"]
    if registered is None:
        return _named(grant["repository"], question)
    if job.repository_id == registered:
        return None
    if same(job.name, grant["repository"]):
        return Difference(
            "name_reused",
            f"another repository has the name {grant['repository']} now; the policy is for id {registered}",
        )
    return Difference(
        "repository_id", f"the policy is for repository id {registered}, the token from {job.repository_id}"
    )


def _named(registered: str, question: Question) -> Difference | None:
    name = question.job.name
    if not same(name, registered):
        return Difference(
            "repository_name", f"the policy is for repository {registered}, the token from {name or 'none'}"
        )
    if question.known_as is not None:
        return Difference(
            "name_contradicted",
            f"policies with the token's repository id know it as {question.known_as}; give this policy its repository id",
        )
    return None


def _workflow(grant: Grant, question: Question) -> Difference | None:
    ran = question.job.workflow
    if ran is None:
        return Difference("workflow_unreadable", "no workflow file can be read from the token")
    named, marker, wanted = grant["workflow_file"].rpartition("/.github/workflows/")
    if not same(ran.repository, named if marker else question.job.repository):
        wants = f"the policy wants {grant['workflow_file']}" if marker else "which the policy does not name"
        return Difference("workflow_repository", f"the job ran a workflow of {ran.repository}, {wants}")
    if ran.file == wanted:
        return None
    return Difference("workflow_file", f"the policy wants the workflow {wanted}, the job ran {ran.file}")


def _environment(grant: Grant, question: Question) -> Difference | None:
    wanted, ran = grant["environment"], question.job.environment
    if not wanted or same(wanted, ran):
        return None
    return Difference("environment", f"the policy wants the environment {wanted}, the job ran in {ran or 'none'}")


def closed(grant: Grant, now: Micros) -> Difference | None:
    """Why a policy may not be used at this moment; None if it may. The reader's rule."""
    if grant["usable"] is not True:
        reasons = f": {', '.join(grant['reasons'])}" if grant["reasons"] else ""
        code = grant["state"] if grant["state"] in DIFFERENCES else "disabled"
        return Difference(code, f"the policy is {grant['state']}{reasons}")
    until = grant["usable_until"]
    if until is not None and datetime.fromisoformat(until) <= utc(now):
        return Difference("window_closed", f"the policy's window closed at {until}")
    return None


RULES: dict[str, Callable[[Grant, Question], Difference | None]] = {
    "claims": lambda _, question: question.job.malformed,
    "event": lambda _, question: question.job.forbidden,
    "repository_owner": _owner,
    "repository": _repository,
    "workflow_file": _workflow,
    "environment": _environment,
    "standing": lambda grant, question: closed(grant, question.now),
}
"""Stage → rule: None if the token passes, else why not."""


# Asking them


_PASSED = {name: Stage(name, "passed", "") for name in RULES}
_SKIPPED = {name: Stage(name, "skipped", "") for name in RULES}


def ask_in_order(policy_id: str | None, ask: Callable[[str], Difference | None]) -> Match:
    """Ask about every stage, up to the first that fails."""
    stages: list[Stage] = []
    failed = False
    for name in RULES:
        difference = None if failed else ask(name)
        if difference is not None:
            failed = True
            stages.append(Stage(name, "failed", difference.detail, difference.code, DIFFERENCES[difference.code]))
        else:
            stages.append(_SKIPPED[name] if failed else _PASSED[name])
    return Match(policy_id, not failed, tuple(stages))


def match(grant: Grant, job: Job, now: Micros, known_as: str | None = None) -> Match:
    """Ask every rule of one policy, up to the first that fails."""
    question = Question(job, now, known_as)
    return ask_in_order(grant["policy_id"], lambda name: RULES[name](grant, question))


def best(matches: Sequence[Match]) -> Match | None:
    """The one that matched, or else the one that came furthest."""
    return max(matches, key=lambda m: (m.matched, sum(stage.outcome == "passed" for stage in m.stages)), default=None)
