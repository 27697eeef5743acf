"""Every reason that blocks a policy, and every advisory: one row each. Adding one is adding a row.

`make generate` writes the tables of docs/contract.md and docs/lifecycle.md and the lists of docs/schemas/view.json from
these rows. tests/lifecycle/test_reasons.py says what a row lacks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from worker.lifecycle import scopes
from worker.lifecycle.facts import Facts, Observation, newest
from worker.lifecycle.policy_facts import PolicyFacts
from worker.lifecycle.registration import own_file
from worker.lifecycle.tenure import BindingScope, Tenure


class FactPattern(NamedTuple):
    """Facts that a rule reads: those of a scope whose aspect begins so."""

    scope: str
    aspect: str


class Proof(StrEnum):
    """Whose word settles a reason, and takes it back where a hint alone does not."""

    REPOSITORY = "GitHub's answer about the repository"
    OWNER = "GitHub's answer about the owner"
    MEMBERSHIP = "GitHub's answer about the creator's membership"
    ACCESS = "GitHub's answer about the creator's access"
    REGISTRY = "the registry's own events"
    OPERATOR = "an operator's own events"
    ENVIRONMENT = "GitHub's answer about the environment"
    REFS = "GitHub's answer about rulesets and branches"
    WORKFLOW = "GitHub's answer about the workflow file, or a push that is newer: neither gives or takes anything"


Reads = Callable[[Tenure, str], tuple[FactPattern, ...]]
"""A tenure and a policy id → what a rule reads, the facts that tell people of the reason first."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a policy may not publish or, where it does not block, what its owner should know."""

    name: str
    blocks: bool
    rule: Callable[[PolicyFacts], bool]
    """When it holds."""
    reads: Reads
    """All that its rule reads, beside the tenure and the clock."""
    means: str
    """For people: what it says, and what would clear it."""
    clears: str
    holds_while: str
    """For docs/lifecycle.md."""
    raised_by: str
    """For docs/contract.md: what raises and clears it in an installation that cannot ask GitHub."""
    cleared_by: str
    proof: Proof


def _repository(tenure: Tenure, *aspects: str) -> tuple[FactPattern, ...]:
    return tuple(FactPattern(place.scope, aspect) for aspect in aspects for place in reversed(tenure.places))


def _owner(tenure: Tenure, aspect: str) -> FactPattern:
    return FactPattern(scopes.owner(tenure.owner_id), aspect)


def _reach(tenure: Tenure, _: str) -> tuple[FactPattern, ...]:
    return (*_repository(tenure, "unreachable", "deleted", "transferred"), _owner(tenure, ""))


def _names(tenure: Tenure, _: str) -> tuple[FactPattern, ...]:
    held = (FactPattern(scopes.name(tenure.owner_id, name), "held_by:") for name, _ in reversed(tenure.names))
    return (*held, *_repository(tenure, "verified"))


def _member(tenure: Tenure) -> tuple[FactPattern, ...]:
    membership = scopes.member(tenure.owner_id, tenure.registration.creator_github_id or 0)
    return FactPattern(membership, "left"), FactPattern(membership, "belonged")


def _collaborator(tenure: Tenure, aspect: str) -> tuple[FactPattern, ...]:
    user = tenure.registration.creator_github_id or 0
    return tuple(FactPattern(scopes.collaborator(place.scope, user), aspect) for place in reversed(tenure.places))


def _part(tenure: Tenure, _: str) -> tuple[FactPattern, ...]:
    return (*_member(tenure), *_collaborator(tenure, "stranger"))


def _access(tenure: Tenure, _: str) -> tuple[FactPattern, ...]:
    return (*_collaborator(tenure, "lost"), *_member(tenure))


def _creator(tenure: Tenure, aspect: str) -> tuple[FactPattern, ...]:
    return (FactPattern(scopes.account(tenure.registration.creator), aspect),)


def _package_owner(tenure: Tenure, aspect: str) -> tuple[FactPattern, ...]:
    return (FactPattern(scopes.account(tenure.registration.package_owner), aspect),)


def _package_member(tenure: Tenure, _: str) -> tuple[FactPattern, ...]:
    registration = tenure.registration
    return (FactPattern(scopes.package_member(registration.package_owner, registration.creator), "left"),)


def _verification(tenure: Tenure, _: str) -> tuple[FactPattern, ...]:
    return (
        _owner(tenure, "blind"),
        _owner(tenure, ""),
        *_repository(tenure, "verified"),
        *_collaborator(tenure, "unasked"),
        *_member(tenure),
    )


def _workflow(tenure: Tenure, _: str) -> tuple[FactPattern, ...]:
    there, file = tenure.called, own_file(tenure.registration)
    own = () if file is None else _files(tenure.places, file, "missing")
    if there is None:
        return own
    ends = (
        FactPattern(place.scope, aspect)
        for place in (*there.places, *there.owners)
        for aspect in ("deleted", "transferred")
    )
    return (*own, *_files(there.places, there.file, "missing"), *ends)


def _files(places: Sequence[BindingScope], file: str, aspect: str) -> tuple[FactPattern, ...]:
    return tuple(FactPattern(scopes.workflow(place.scope, file), aspect) for place in reversed(places))


def _contents(tenure: Tenure, _: str) -> tuple[FactPattern, ...]:
    file = own_file(tenure.registration)
    return (
        ()
        if file is None
        else tuple(told for each in ("tokenless", "missing") for told in _files(tenure.places, file, each))
    )


def _environment(tenure: Tenure, *aspects: str) -> tuple[FactPattern, ...]:
    name = tenure.registration.environment
    if name is None:
        return ()
    return tuple(FactPattern(scopes.environment(p.scope, name), a) for a in aspects for p in reversed(tenure.places))


def _registered(_: Tenure, policy_id: str) -> tuple[FactPattern, ...]:
    return (FactPattern(scopes.policy(policy_id), "registration"),)


def _refs(tenure: Tenure, policy_id: str) -> tuple[FactPattern, ...]:
    file = own_file(tenure.registration)
    own = () if file is None else _files(tenure.places, file, "missing")
    return (*_registered(tenure, policy_id), *_environment(tenure, "missing", "open"), *own)


def _runner(tenure: Tenure, policy_id: str) -> tuple[FactPattern, ...]:
    login = FactPattern(scopes.policy(policy_id), "self_hosted")
    registration = _registered(tenure, policy_id)
    return (login, *registration) if tenure.registration.asked.runner is None else (*registration, login)


def _protection(tenure: Tenure, policy_id: str) -> tuple[FactPattern, ...]:
    named = tuple(
        FactPattern(scopes.refs(place.scope, pattern), "unprotected")
        for pattern in tenure.registration.asked.refs
        for place in reversed(tenure.places)
    )
    return (*named, *_registered(tenure, policy_id), *_environment(tenure, "missing", "open"))


def _named(tenure: Tenure, _: str) -> tuple[FactPattern, ...]:
    return (*_repository(tenure, "name"), _owner(tenure, "owner_login"))


_ROWS = (
    Reason(
        "repository_deleted",
        blocks=True,
        rule=lambda known: known.repository("deleted"),
        reads=lambda tenure, _: _repository(tenure, "deleted"),
        means="the repository was deleted",
        clears=(
            "GitHub restoring that very repository; a new one under the same name has another id and needs a new policy"
        ),
        holds_while="the repository is known to be deleted",
        raised_by="`repository.deleted`",
        cleared_by=(
            "`repository.created` under that very id: it was restored. For a policy that knows no repository id "
            "yet, `repository.created` under that name"
        ),
        proof=Proof.REPOSITORY,
    ),
    Reason(
        "repository_archived",
        blocks=True,
        rule=lambda known: known.repository("archived"),
        reads=lambda tenure, _: _repository(tenure, "archived"),
        means="the repository is archived",
        clears="unarchiving it on GitHub",
        holds_while="it is archived",
        raised_by="`repository.archived`",
        cleared_by=(
            "`repository.unarchived`, or a push to the default branch whose payload says that it is not archived"
        ),
        proof=Proof.REPOSITORY,
    ),
    Reason(
        "repository_disabled",
        blocks=True,
        rule=lambda known: known.repository("disabled"),
        reads=lambda tenure, _: _repository(tenure, "disabled"),
        means="GitHub has disabled the repository",
        clears="GitHub enabling it again, which its owner has to ask GitHub for",
        holds_while="GitHub has disabled it: for a breach of its terms, a takedown notice or an unpaid bill",
        raised_by="a `repository` or `public` event whose payload says `disabled: true` of the repository",
        cleared_by=(
            "one that says `disabled: false`, other than `repository.archived` and `repository.unarchived`, which tell of "
            "nothing else"
        ),
        proof=Proof.REPOSITORY,
    ),
    Reason(
        "repository_unreachable",
        blocks=True,
        rule=PolicyFacts.unreachable,
        reads=_reach,
        means="the repository is out of reach",
        clears="giving the GitHub App access to it again",
        holds_while=(
            "it was taken from the App's installation, or GitHub does not know it any more. Where GitHub can be "
            "asked, not while it is known to be deleted or transferred, which explains it"
        ),
        raised_by=("`installation_repositories.removed`, unless another installation of the owner sees the repository"),
        cleared_by=(
            "`installation_repositories.added`; or an installation event that lists the repository, or says "
            "`repository_selection: all`"
        ),
        proof=Proof.REPOSITORY,
    ),
    Reason(
        "repository_transferred",
        blocks=True,
        rule=lambda known: known.repository("transferred"),
        reads=lambda tenure, _: _repository(tenure, "transferred"),
        means="the repository went to another owner",
        clears="its transfer back, or a registration that names the new owner",
        holds_while="it went to another owner",
        raised_by="`repository.transferred` away from the policy's owner",
        cleared_by="`repository.transferred` back to it; or a registration that names the new owner",
        proof=Proof.REPOSITORY,
    ),
    Reason(
        "repository_replaced",
        blocks=True,
        rule=PolicyFacts.replaced,
        reads=_names,
        means="another repository has its name now",
        clears="renaming or deleting the other one; to publish from it, register a new policy",
        holds_while=(
            "another repository took its name later than it took that name itself, or than its registration named "
            "it; only for policies with a repository id. Where GitHub can be asked, also if it is heard to have "
            "left that name since, until there is proof"
        ),
        raised_by=(
            "`repository.created`, or `repository.renamed` or `repository.transferred` of another repository, "
            "which gives the policy's name to another id"
        ),
        cleared_by=(
            "the other repository being deleted, renamed or transferred away; or the policy's own repository "
            "taking the name again, or another one; or a later registration under that name"
        ),
        proof=Proof.REPOSITORY,
    ),
    Reason(
        "owner_deleted",
        blocks=True,
        rule=lambda known: known.owner("deleted"),
        reads=lambda tenure, _: (_owner(tenure, "deleted"),),
        means="the GitHub owner was deleted",
        clears="the owner coming back; otherwise remove the policy",
        holds_while="the GitHub owner is deleted",
        raised_by="`organization.deleted`",
        cleared_by="nothing",
        proof=Proof.OWNER,
    ),
    Reason(
        "creator_left_organization",
        blocks=True,
        rule=PolicyFacts.has_no_part,
        reads=_part,
        means="its creator is no member of the GitHub organisation any more",
        clears="the creator's return to the organisation, or a registration by somebody who is in it",
        holds_while=(
            "the creator left the GitHub organisation; where GitHub can be asked, also if the creator is no "
            "member, may not write to the repository, and was never known to be or to do either"
        ),
        raised_by="`organization.member_removed` for the creator's GitHub user id",
        cleared_by="`organization.member_added`; or a registration with another creator",
        proof=Proof.MEMBERSHIP,
    ),
    Reason(
        "creator_lost_repository_access",
        blocks=True,
        rule=PolicyFacts.lost_repository,
        reads=_access,
        means="its creator may not write to the repository any more",
        clears="giving the creator write access again, or a registration by somebody who has it",
        holds_while=("the creator lost direct access below write, and is not known to be a member of the organisation"),
        raised_by=(
            "`member.removed`, or `member.edited` or `member.added` with a role below write, for the creator; a "
            "custom role counts as the one that it is based on. Not while the creator is known to be a member of "
            "the organisation"
        ),
        cleared_by=(
            "`member.added` without such a role, `member.edited` to write or more, `organization.member_added`; "
            "or a registration with another creator"
        ),
        proof=Proof.ACCESS,
    ),
    Reason(
        "creator_left_package_owner",
        blocks=True,
        rule=PolicyFacts.left_package_owner,
        reads=_package_member,
        means="its creator does not belong to the package owner any more",
        clears="the creator's return to the package owner, or a registration by somebody who belongs to it",
        holds_while="the creator left the package owner",
        raised_by="`package_owner.member_removed`",
        cleared_by="`package_owner.member_added`; or a registration with another creator or package owner",
        proof=Proof.REGISTRY,
    ),
    Reason(
        "creator_locked",
        blocks=True,
        rule=lambda known: known.creator("locked"),
        reads=lambda tenure, _: _creator(tenure, "locked"),
        means="its creator's account is locked",
        clears="unlocking the account",
        holds_while="the creator's account is locked",
        raised_by="`account.locked` for the creator's account",
        cleared_by="`account.unlocked`",
        proof=Proof.REGISTRY,
    ),
    Reason(
        "creator_deleted",
        blocks=True,
        rule=lambda known: known.creator("deleted"),
        reads=lambda tenure, _: _creator(tenure, "deleted"),
        means="its creator's account was deleted",
        clears="restoring the account, or a registration by somebody else",
        holds_while="the creator's account is deleted",
        raised_by="`account.deleted` for the creator's account",
        cleared_by="`account.restored`",
        proof=Proof.REGISTRY,
    ),
    Reason(
        "package_owner_locked",
        blocks=True,
        rule=lambda known: known.package_owner("locked"),
        reads=lambda tenure, _: _package_owner(tenure, "locked"),
        means="the package owner's account is locked",
        clears="unlocking the account",
        holds_while="the package owner's account is locked",
        raised_by="`account.locked` for the package owner's account",
        cleared_by="`account.unlocked`",
        proof=Proof.REGISTRY,
    ),
    Reason(
        "package_owner_deleted",
        blocks=True,
        rule=lambda known: known.package_owner("deleted"),
        reads=lambda tenure, _: _package_owner(tenure, "deleted"),
        means="the package owner's account was deleted",
        clears="restoring the account",
        holds_while="the package owner's account is deleted",
        raised_by="`account.deleted` for the package owner's account",
        cleared_by="`account.restored`",
        proof=Proof.REGISTRY,
    ),
    Reason(
        "verification_lapsed",
        blocks=True,
        rule=PolicyFacts.lapsed,
        reads=_verification,
        means="GitHub could not be asked or heard for too long",
        clears="installing the GitHub App again, or lifting its suspension, so that GitHub can be heard",
        holds_while=(
            "the owner could not be heard for `TENURE_VERIFY_MAX_AGE_HOURS`; where GitHub can be asked, the last "
            "proof is older than that, also the last of a creator who is no member and of whom GitHub does not let us ask"
        ),
        raised_by=(
            "the clock, `VERIFY_MAX_AGE_HOURS` after the last installation of the owner was deleted or suspended, "
            "or its own webhook deleted (or after the last proof, if that is later): nothing can be heard of this "
            "owner any more. Where GitHub can be asked: that long after the last proof, or after the registration "
            "if there was none"
        ),
        cleared_by=(
            "an installation of the owner that is there and not suspended: `installation.created`, "
            "`installation.unsuspend`, `installation.new_permissions_accepted`; `ping` of its own webhook"
        ),
        proof=Proof.REPOSITORY,
    ),
    Reason(
        "held_by_operator",
        blocks=True,
        rule=lambda known: known.holds(known.own_scope, "held"),
        reads=lambda _, policy_id: (FactPattern(scopes.policy(policy_id), "held"),),
        means="an operator holds it",
        clears="`tenure policy release`",
        holds_while="an operator holds it",
        raised_by="`tenure policy hold`",
        cleared_by="`tenure policy release`",
        proof=Proof.OPERATOR,
    ),
    Reason(
        "workflow_missing",
        blocks=False,
        rule=PolicyFacts.workflow_missing,
        reads=_workflow,
        means=("the workflow file is not on the default branch, or the repository of a reusable workflow was deleted"),
        clears="putting it there, or a registration that names another file",
        holds_while=(
            "the workflow file is not on the default branch, by the newest push that is known, or by GitHub's answer where "
            "that is newer"
        ),
        raised_by=(
            "a `push` to the default branch that removes the policy's workflow file; for a reusable workflow "
            "also the end of its repository, deleted or transferred, even if another is made under "
            "its name, and the loss of its address"
        ),
        cleared_by="a push that adds or changes it; or a registration that names another file",
        proof=Proof.WORKFLOW,
    ),
    Reason(
        "workflow_cannot_publish",
        blocks=False,
        rule=PolicyFacts.workflow_cannot_publish,
        reads=_contents,
        means="no job of the workflow file asks for `id-token: write`, so none gets a token to publish with",
        clears="adding `id-token: write` to its permissions, or a registration that names another file",
        holds_while=(
            "no job of the workflow file asks for `id-token: write`, by GitHub's last answer; not of a reusable workflow, nor "
            "of a file that is missing"
        ),
        raised_by="nothing",
        cleared_by="nothing",
        proof=Proof.WORKFLOW,
    ),
    Reason(
        "environment_missing",
        blocks=False,
        rule=PolicyFacts.environment_missing,
        reads=lambda tenure, _: _environment(tenure, "missing"),
        means="the environment does not exist; GitHub makes it, unprotected, for the first job that names it",
        clears="making it, or a registration that names another environment",
        holds_while="the repository has no environment of that name, by GitHub's last answer",
        raised_by="nothing",
        cleared_by="nothing",
        proof=Proof.ENVIRONMENT,
    ),
    Reason(
        "environment_unprotected",
        blocks=False,
        rule=PolicyFacts.environment_unprotected,
        reads=lambda tenure, _: _environment(tenure, "unprotected", "missing"),
        means="the environment protects nothing: every branch and tag may use it, and nobody has to approve",
        clears="giving it deployment branches or tags, or required reviewers",
        holds_while="the environment admits every branch and tag, and nobody has to approve, by GitHub's last answer",
        raised_by="nothing",
        cleared_by="nothing",
        proof=Proof.ENVIRONMENT,
    ),
    Reason(
        "any_ref",
        blocks=False,
        rule=PolicyFacts.any_ref,
        reads=_refs,
        means="a run for any branch or tag may publish, also for one that somebody made just for that",
        clears="a registration with `refs` or `ref_protected`, or an environment that admits chosen branches and tags only",
        holds_while=(
            "the policy has neither `refs` nor `ref_protected`, and no environment that GitHub told to admit chosen branches "
            "and tags only; said from GitHub's first answer about the workflow file or the environment on"
        ),
        raised_by="nothing",
        cleared_by="a registration with `refs` or `ref_protected`",
        proof=Proof.REGISTRY,
    ),
    Reason(
        "refs_unprotected",
        blocks=False,
        rule=PolicyFacts.refs_unprotected,
        reads=_protection,
        means="a ref that it names may be made or moved by whoever may push: no ruleset and no branch protection covers it",
        clears="a ruleset for these branches or tags, `ref_protected`, or an environment that admits chosen ones only",
        holds_while=(
            "a ref that `refs` admits is protected by no ruleset and no branch protection, by GitHub's last answer, and the "
            "policy has neither `ref_protected` nor an environment that GitHub told to admit chosen branches and tags only"
        ),
        raised_by="nothing",
        cleared_by="a registration with other `refs`, or with `ref_protected`",
        proof=Proof.REFS,
    ),
    Reason(
        "any_caller",
        blocks=False,
        rule=PolicyFacts.any_caller,
        reads=_registered,
        means="its workflow may call any reusable workflow, of whomever, and that publishes with it",
        clears="a registration with a `called_workflow` that names one",
        holds_while="`called_workflow` is `*`",
        raised_by="a registration with `called_workflow: *`",
        cleared_by="a registration with another, or with none",
        proof=Proof.REGISTRY,
    ),
    Reason(
        "self_hosted_runner",
        blocks=False,
        rule=PolicyFacts.self_hosted_runner,
        reads=_runner,
        means="it publishes from self-hosted runners, which may keep what an earlier job left behind",
        clears="a registration with `runner: github-hosted`",
        holds_while="`runner` is `self-hosted`; or there is none, and a login since the registration ran on one",
        raised_by="a registration with `runner: self-hosted`, or a `login.succeeded` that says it of one without `runner`",
        cleared_by="a later registration without it",
        proof=Proof.REGISTRY,
    ),
    Reason(
        "visibility_changed",
        blocks=False,
        rule=PolicyFacts.visibility_changed,
        reads=lambda tenure, _: _repository(tenure, "visibility"),
        means="the repository's visibility is not what was registered",
        clears="a registration with the present visibility",
        holds_while="the visibility is not the one that was registered",
        raised_by="the newest known visibility differs from the one that was registered",
        cleared_by="a visibility event, or a registration, that makes them the same",
        proof=Proof.REPOSITORY,
    ),
    Reason(
        "renamed",
        blocks=False,
        rule=PolicyFacts.renamed,
        reads=_named,
        means="the repository or its owner has another name than was registered",
        clears="a registration with the present names",
        holds_while="the name or the owner's login is not the one that was registered",
        raised_by="the repository's name or its owner's login differs from what was registered, letter case aside",
        cleared_by="a registration with the present names, or a rename back",
        proof=Proof.REPOSITORY,
    ),
)

REASONS = {row.name: row for row in _ROWS if row.blocks}
"""Every reason that blocks (contract, section 2). All that hold are listed, always, in this order."""
ADVISORIES = {row.name: row for row in _ROWS if not row.blocks}
"""What an owner should know, and what never blocks."""


def telling(row: Reason, facts: Facts, tenure: Tenure, policy_id: str) -> Observation | None:
    """The newest fact that tells of a reason or advisory: of its first subject, or else of the next of the same aspect. None if
    it is the clock's.
    """
    first, *others = row.reads(tenure, policy_id)
    for scope, aspect in (first, *(read for read in others if read.aspect == first.aspect)):
        told = newest(
            fact for fact in facts.values() if fact.scope == scope and fact.aspect.startswith(aspect) and fact.value
        )
        if told is not None:
            return told
    return None
