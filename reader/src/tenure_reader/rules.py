"""Would this token match? One table of rules, tried in order; the first that fails is the answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from tenure_reader.claims import Difference, Job, Workflow
from tenure_reader.globs import package_matches, ref_matches
from tenure_reader.grants import Conditions, Grant
from tenure_reader.keys import ISSUER
from tenure_reader.matching import CONTRACT, Binds, Matching
from tenure_reader.times import Micros, utc

_FOLDER = "/.github/workflows/"
_CALLED = re.compile(r"(?P<file>[^/]+?\.ya?ml)(?:@(?P<ref>.+))?", re.IGNORECASE)
"""A file, and the pattern of its refs, if one is given. A file's name may hold an `@`: its ending is what ends it."""
_NOBODY = "no policy lets this repository publish"

DIFFERENCES: dict[str, str] = {
    "claims_missing": "the token lacks claims that every token of GitHub Actions has",
    "claims_malformed": "a claim of the token has another form than GitHub gives it",
    "issuer_missing": "the token does not say who issued it",
    "issuer_unknown": "the token's issuer is none that may publish",
    "issuer": _NOBODY,
    "event_forbidden": "a run that was started by this event may not publish",
    "owner_id": _NOBODY,
    "repository_id": _NOBODY,
    "repository_name": _NOBODY,
    "name_reused": _NOBODY,
    "name_contradicted": _NOBODY,
    "workflow_unreadable": "the token names no workflow file",
    "workflow_repository": "the job ran a workflow of a repository that the policy does not name",
    "workflow_file": "the job ran another workflow file than the policy names",
    "caller_unreadable": "the token does not name the workflow that the run began with",
    "caller_repository": "the run began with a workflow of another repository",
    "caller_file": "the run began with another workflow file than the policy names",
    "called_workflow": "the job ran a reusable workflow that the policy does not name",
    "called_commit": "the job ran a workflow of another commit than the run's",
    "workflow_commit": "the job ran a workflow of another commit than the run's",
    "ref": "the run was for another branch or tag than the policy admits",
    "ref_unprotected": "the run was not for a protected branch or tag",
    "environment": "the job did not run in the environment that the policy names",
    "runner": "the job ran on another kind of runner than the policy admits",
    "event_not_admitted": "the run was started by another event than the policy admits",
    "package": "the policy is for other packages",
    "action": "the policy is for other actions",
    "window_closed": "the policy's time is over; its owner can renew it",
    "expired": "the policy's time is over; its owner can renew it",
    "disabled": "the policy is disabled; its owner can look up why",
    "removed": "the policy was removed",
    "held": "the policy is held",
}
"""What can differ → what may be told to whoever presents the token. It does not tell a repository that is not the policy's
that there is one. Once the repository is the policy's, what the policy names and what the job did is told as well."""

LONGEST_TOLD = 100
"""Characters of a name that is told."""
MOST_TOLD = 3
"""Of several that a policy admits, those that are told."""


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


class Wanted(NamedTuple):
    """What the token is to be used for, as far as that is known: what is None is not asked about."""

    package: str | None = None
    action: str | None = None


ANYTHING = Wanted()


class Question(NamedTuple):
    """What every rule looks at, beside the policy."""

    job: Job
    now: Micros
    known_as: str | None
    """Another name, by which policies with the token's repository id know it."""
    matching: Matching
    wanted: Wanted


def same(one: str, other: str) -> bool:
    """Equal but for the case of letters.

    Both ways, because there are letters that only one way maps onto others: the Kelvin sign becomes a k. Whoever may
    name an environment could otherwise make one that is protected by nothing and passes for another.
    """
    return one == other or (one.lower() == other.lower() and one.upper() == other.upper())


# What may be told


def plain(text: str) -> str:
    """A name as it may be shown: one line, not endless, and with nothing in it that is not to be seen or turns what
    follows round.
    """
    shown = (
        text
        if text.isprintable()
        else "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text[:LONGEST_TOLD])
    )
    return shown if len(shown) <= LONGEST_TOLD else f"{shown[:LONGEST_TOLD]}\N{HORIZONTAL ELLIPSIS}"


def _some(names: Sequence[str]) -> str:
    more = len(names) - MOST_TOLD
    return ", ".join(map(plain, names[:MOST_TOLD])) + (f" and {more} more" if more > 0 else "")


def _path(workflow: Workflow, job: Job) -> str:
    """A workflow as a policy would name it."""
    own = same(workflow.repository, job.repository)
    return plain(workflow.file) if own else plain(f"{workflow.repository}{_FOLDER}{workflow.file}")


def _ran(job: Job) -> str:
    """What the job ran, and how it came to that."""
    ran, began = job.workflow, job.run.caller
    if ran is None:
        return "none that the token names"
    if began is None or began == ran:
        return _path(ran, job)
    return f"{_path(ran, job)}, a reusable workflow that {_path(began, job)} called"


def _told(code: str, sentence: str) -> Difference:
    """What differs once the repository is the policy's: its bearer may see both sides."""
    return Difference(code, sentence, sentence)


# The rules


def instance_of(job: Job, matching: Matching) -> str | Difference:
    """The alias of the instance of GitHub that issued a token, or why it cannot be told."""
    if not matching.issuers:
        return ISSUER
    if job.issuer is None:
        aliases = {alias for _, alias in matching.issuers}
        if len(aliases) == 1:
            return aliases.pop()
        return Difference(
            "issuer_missing", f"the token has no iss, and may be of any of {len(aliases)} instances of GitHub"
        )
    known = next((alias for issuer, alias in matching.issuers if issuer == job.issuer), None)
    if known is None:
        return Difference("issuer_unknown", f"no instance of GitHub is configured for the issuer {plain(job.issuer)}")
    return known


def foreign(job: Job, matching: Matching) -> Difference | None:
    """Why a token is of no instance of GitHub that any policy could be for; None if it is of one."""
    instance = instance_of(job, matching)
    return instance if isinstance(instance, Difference) else None


def _issuer(grant: Grant, question: Question) -> Difference | None:
    instance, ours = instance_of(question.job, question.matching), grant.get("issuer", ISSUER)
    if isinstance(instance, Difference):
        return instance
    if instance == ours:
        return None
    return Difference("issuer", f"the policy is for an owner at {ours}, the token from {instance}")


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


def forbidden(job: Job, matching: Matching) -> Difference | None:
    """Whether the run was started by something that may never publish, whatever a policy says."""
    if job.event not in matching.forbidden_events:
        return None
    return Difference("event_forbidden", f"a run started by {plain(job.event)} may not publish")


def _binds(grant: Grant, matching: Matching) -> Binds:
    return "caller" if "called_workflow" in grant else grant.get("workflow_binds", matching.workflow_binds)


def _same_file(one: str, other: str, matching: Matching) -> bool:
    return one == other or (matching.workflow_file_case == "insensitive" and same(one, other))


def _workflow(grant: Grant, question: Question) -> Difference | None:
    job, matching = question.job, question.matching
    ran = job.workflow
    if ran is None:
        return Difference("workflow_unreadable", "no workflow file can be read from the token")
    named, marker, file = grant["workflow_file"].rpartition(_FOLDER)
    if _binds(grant, matching) == "caller":
        return _caller(grant, question)
    if same(ran.repository, named if marker else job.repository):
        if _same_file(ran.file, file, matching):
            return None
        code = "workflow_file"
    else:
        code = "workflow_repository"
    return _told(code, f"the policy names {plain(grant['workflow_file'])}; the job ran {_ran(job)}")


def _caller(grant: Grant, question: Question) -> Difference | None:
    job, began, wanted = question.job, question.job.run.caller, grant["workflow_file"]
    if began is None:
        return Difference("caller_unreadable", "the workflow that the run began with cannot be read from the token")
    if _FOLDER in wanted:
        # Its own run never begins with it.
        return _told("caller_repository", f"the policy names {plain(wanted)}; the run began with {_path(began, job)}")
    if not same(began.repository, job.repository):
        code = "caller_repository"
    elif not _same_file(began.file, wanted, question.matching):
        code = "caller_file"
    else:
        return None
    return _told(code, f"the policy names {plain(wanted)}; the run began with {_path(began, job)}")


def _called(grant: Grant, question: Question) -> Difference | None:
    """Where the workflow that the run began with is the policy's: whether it may have called the one that the job ran."""
    job, named = question.job, grant.get("called_workflow")
    if _binds(grant, question.matching) == "job" or named == "*":
        return None
    ran, began = job.workflow, job.run.caller
    assert ran is not None, "the stage before this one passed"
    assert began is not None, "the stage before this one passed"
    if named is not None and _is_named(ran, named, question.matching):
        return None
    if not same(ran.repository, job.repository):
        admits = (
            f"the policy lets {plain(named)} be called" if named else "the policy names no other repository's workflow"
        )
        return _told("called_workflow", f"{admits}; the job ran {_ran(job)}")
    # Nobody need have called it; else it is of the commit that the run is of only if the token says so.
    if job.run.commit == job.run.caller_commit and (job.run.commit or ran == began):
        return None
    return _other_commit("called_commit", job)


def _is_named(ran: Workflow, named: str, matching: Matching) -> bool:
    repository, _, rest = named.partition(_FOLDER)
    parts = _CALLED.fullmatch(rest)
    if parts is None or (parts["ref"] is not None and not ref_matches(parts["ref"], ran.ref)):
        return False
    return same(ran.repository, repository) and _same_file(ran.file, parts["file"], matching)


def _commit(grant: Grant, question: Question) -> Difference | None:
    """A policy that admits some refs only means the workflow file that they have: one that is called may be of any."""
    if "refs" not in grant and "ref_protected" not in grant:
        return None
    job = question.job
    if job.workflow is None or not same(job.workflow.repository, job.repository):
        return None
    return None if job.run.commit and job.run.commit == job.run.caller_commit else _other_commit("workflow_commit", job)


def _other_commit(code: str, job: Job) -> Difference:
    of, began = plain(job.run.commit) or "one not told", plain(job.run.caller_commit) or "one not told"
    return _told(code, f"the job ran {_ran(job)}, of commit {of}; the run is of commit {began}")


def _ref(grant: Grant, question: Question) -> Difference | None:
    refs = grant.get("refs")
    if refs is None:
        return None
    ref = question.job.run.ref
    if ref and any(ref_matches(pattern, ref) for pattern in refs):
        return None
    return _told("ref", f"the policy admits {_some(refs)}; the run was for {plain(ref) or 'no branch or tag'}")


def _protected(grant: Grant, question: Question) -> Difference | None:
    if "ref_protected" not in grant or question.job.run.ref_protected:
        return None
    ref = plain(question.job.run.ref) or "no branch or tag"
    return _told(
        "ref_unprotected", f"the policy admits protected branches and tags; the run was for {ref}, which is none"
    )


def _environment(grant: Grant, question: Question) -> Difference | None:
    required, ran = grant["environment"], question.job.environment
    if not required or same(required, ran):
        return None
    return _told(
        "environment", f"the policy names the environment {plain(required)}; the job ran in {plain(ran) or 'none'}"
    )


def _runner(grant: Grant, question: Question) -> Difference | None:
    wanted, runner = grant.get("runner"), question.job.run.runner
    if wanted is None or wanted == runner:
        return None
    ran = plain(runner) or "one of which the token does not tell"
    return _told("runner", f"the policy admits {plain(wanted)} runners; the job's was {ran}")


def _event(grant: Grant, question: Question) -> Difference | None:
    events = grant.get("events")
    if events is None or question.job.event in events:
        return None
    started = plain(question.job.event)
    return _told("event_not_admitted", f"the policy admits {_some(events)}; the run was started by {started}")


def _package(grant: Grant, question: Question) -> Difference | None:
    package = question.wanted.package
    if package is None or covers(grant, package=package):
        return None
    return _told("package", f"the policy is for {_some(grant['packages'])}; the package is {plain(package)}")


def _action(grant: Grant, question: Question) -> Difference | None:
    action = question.wanted.action
    if action is None or covers(grant, action=action):
        return None
    return _told("action", f"the policy is for {_some(grant['actions'])}; the action is {plain(action)}")


def covers(grant: Conditions, *, package: str | None = None, action: str | None = None) -> bool:
    """Whether a policy is for a package, and for an action. An exchange that asked about neither asks this of each that its
    key is then used for.
    """
    packages, actions = grant.get("packages"), grant.get("actions")
    if package is not None and packages is not None and not any(package_matches(some, package) for some in packages):
        return False
    return action is None or actions is None or action in actions


def closed(grant: Grant, now: Micros) -> Difference | None:
    """Why a policy may not be used at this moment; None if it may. The reader's rule."""
    held = grant.get("held")
    if held is not None:
        return Difference("held", held)
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
    "issuer": _issuer,
    "event": lambda _, question: forbidden(question.job, question.matching),
    "repository_owner": _owner,
    "repository": _repository,
    "workflow_file": _workflow,
    "called_workflow": _called,
    "workflow_commit": _commit,
    "refs": _ref,
    "ref_protected": _protected,
    "environment": _environment,
    "runner": _runner,
    "events": _event,
    "packages": _package,
    "actions": _action,
    "standing": lambda grant, question: closed(grant, question.now),
}
"""Stage → rule: None if the token passes, else why not."""


# Asking them

_CONDITIONS = Conditions.__optional_keys__
CONDITIONAL = frozenset({
    "called_workflow", "workflow_commit", "refs", "ref_protected", "runner", "events", "packages", "actions",
})  # fmt: skip
"""Stages that every token passes of a policy that makes no condition, where the job's workflow is bound."""
_EACH = tuple(RULES.items())
_UNCONDITIONAL = tuple((stage, rule) for stage, rule in _EACH if stage not in CONDITIONAL)

_PASSED = tuple(Stage(name, "passed", "") for name in RULES)
_SKIPPED = tuple(Stage(name, "skipped", "") for name in RULES)


_AROUND = {name: (_PASSED[:at], _SKIPPED[at + 1 :]) for at, name in enumerate(RULES)}
"""The stages before and after one that fails."""


def failed_at(policy_id: str | None, stage: str, difference: Difference) -> Match:
    """The answer where this rule is the first that fails."""
    code, detail, told = difference
    before, after = _AROUND[stage]
    failed = Stage(stage, "failed", detail, code, told or DIFFERENCES[code])
    return Match(policy_id, matched=False, stages=(*before, failed, *after))


def match(
    grant: Grant,
    job: Job,
    now: Micros,
    known_as: str | None = None,
    *,
    matching: Matching = CONTRACT,
    wanted: Wanted = ANYTHING,
) -> Match:
    """Ask every rule of one policy, up to the first that fails."""
    question = Question(job, now, known_as, matching, wanted)
    # Nearly every policy makes none, and asking each of its rules would take a tenth of the time.
    plain = matching.workflow_binds == "job" and grant.keys().isdisjoint(_CONDITIONS)
    for stage, rule in _UNCONDITIONAL if plain else _EACH:
        difference = rule(grant, question)
        if difference is not None:
            return failed_at(grant["policy_id"], stage, difference)
    return Match(grant["policy_id"], matched=True, stages=_PASSED)


def best(matches: Sequence[Match]) -> Match | None:
    """The one that matched, or else the one that came furthest."""
    return max(matches, key=lambda m: (m.matched, sum(stage.outcome == "passed" for stage in m.stages)), default=None)
