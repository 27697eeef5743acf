"""What each reason and advisory means to people, and what would clear it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from worker.lifecycle import scopes
from worker.lifecycle.registration import called
from worker.lifecycle.tenure import Tenure

Subjects = Callable[[Tenure, str], tuple[str, str]]
"""A tenure and a policy id → the scope and the beginning of the aspect whose facts tell of a reason."""


class Meaning(NamedTuple):
    """What a reason or an advisory says, and what would clear it."""

    means: str
    clears: str
    subjects: Subjects


def _repository(aspect: str) -> Subjects:
    return lambda tenure, _: (tenure.places[-1].scope, aspect)


def _account(aspect: str, *, creator: bool) -> Subjects:
    return lambda tenure, _: (
        scopes.account(tenure.registration.creator if creator else tenure.registration.package_owner),
        aspect,
    )


def _member(tenure: Tenure, _: str) -> tuple[str, str]:
    return scopes.member(tenure.owner_id, tenure.registration.creator_github_id or 0), "left"


def _collaborator(tenure: Tenure, _: str) -> tuple[str, str]:
    return scopes.collaborator(tenure.places[-1].scope, tenure.registration.creator_github_id or 0), "lost"


def _package_member(tenure: Tenure, _: str) -> tuple[str, str]:
    return scopes.package_member(tenure.registration.package_owner, tenure.registration.creator), "left"


def _workflow(tenure: Tenure, _: str) -> tuple[str, str]:
    named = called(tenure.registration)
    place = (tenure.called or tenure.places)[-1]
    return scopes.workflow(place.scope, named.file if named else tenure.registration.workflow_file), "missing"


MEANINGS: dict[str, Meaning] = {
    "repository_deleted": Meaning(
        "the repository was deleted",
        "GitHub restoring that very repository; a new one under the same name has another id and needs a new policy",
        _repository("deleted"),
    ),
    "repository_archived": Meaning("the repository is archived", "unarchiving it on GitHub", _repository("archived")),
    "repository_unreachable": Meaning(
        "the repository is out of reach",
        "giving the GitHub App access to it again",
        _repository("unreachable"),
    ),
    "repository_transferred": Meaning(
        "the repository went to another owner",
        "its transfer back, or a registration that names the new owner",
        _repository("transferred"),
    ),
    "repository_replaced": Meaning(
        "another repository has its name now",
        "renaming or deleting the other one; to publish from it, register a new policy",
        lambda tenure, _: (scopes.name(tenure.owner_id, tenure.repository), "held_by:"),
    ),
    "owner_deleted": Meaning(
        "the GitHub owner was deleted",
        "the owner coming back; otherwise remove the policy",
        lambda tenure, _: (scopes.owner(tenure.owner_id), "deleted"),
    ),
    "creator_left_organization": Meaning(
        "its creator is no member of the GitHub organisation any more",
        "the creator's return to the organisation, or a registration by somebody who is in it",
        _member,
    ),
    "creator_lost_repository_access": Meaning(
        "its creator may not write to the repository any more",
        "giving the creator write access again, or a registration by somebody who has it",
        _collaborator,
    ),
    "creator_left_package_owner": Meaning(
        "its creator does not belong to the package owner any more",
        "the creator's return to the package owner, or a registration by somebody who belongs to it",
        _package_member,
    ),
    "creator_locked": Meaning(
        "its creator's account is locked", "unlocking the account", _account("locked", creator=True)
    ),
    "creator_deleted": Meaning(
        "its creator's account was deleted",
        "restoring the account, or a registration by somebody else",
        _account("deleted", creator=True),
    ),
    "package_owner_locked": Meaning(
        "the package owner's account is locked", "unlocking the account", _account("locked", creator=False)
    ),
    "package_owner_deleted": Meaning(
        "the package owner's account was deleted", "restoring the account", _account("deleted", creator=False)
    ),
    "verification_lapsed": Meaning(
        "GitHub could not be asked or heard for too long",
        "installing the GitHub App again, or lifting its suspension, so that GitHub can be heard",
        lambda tenure, _: (scopes.owner(tenure.owner_id), "blind"),
    ),
    "held_by_operator": Meaning(
        "an operator holds it",
        "`tenure policy release`",
        lambda _, policy_id: (scopes.policy(policy_id), "held"),
    ),
    "workflow_missing": Meaning(
        "the workflow file was removed from the default branch, or the repository of a reusable workflow was deleted",
        "putting it back, or a registration that names another file",
        _workflow,
    ),
    "visibility_changed": Meaning(
        "the repository's visibility is not what was registered",
        "a registration with the present visibility",
        _repository("visibility"),
    ),
    "renamed": Meaning(
        "the repository or its owner has another name than was registered",
        "a registration with the present names",
        _repository("name"),
    ),
}
"""Every reason and advisory (contract, section 2)."""
