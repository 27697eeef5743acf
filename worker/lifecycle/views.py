"""What others may read of a policy, and what each change of it is called (contract, section 4)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TypedDict, cast

from worker.lifecycle.conditions import NAMES, NOTHING, ViewConditions, written
from worker.lifecycle.decide import USABLE, Standing, State
from worker.lifecycle.facts import Micros, Observation
from worker.lifecycle.owners import DEFAULT, OwnerRef, owner_at

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def rfc3339(moment: Micros) -> str:
    """A moment as RFC 3339 in UTC, with all its microseconds."""
    return (_EPOCH + timedelta(microseconds=moment)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def described(fact: Observation) -> dict[str, object]:
    """A fact as people and programs are shown it, with its source and time."""
    return {
        "scope": fact.scope,
        "aspect": fact.aspect,
        "value": fact.value,
        "observed_at": rfc3339(fact.at),
        "basis": fact.basis.value,
        "source": fact.source._asdict(),
    }


def micros(moment: datetime) -> Micros:
    """The reverse of `rfc3339`, for a moment that knows its offset."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


class ViewPackageOwner(TypedDict):
    account: str
    kind: str


class ViewCreator(TypedDict):
    account: str
    github_user_id: int | None


class View(ViewConditions):
    """What the token exchange reads of one policy."""

    policy_id: str
    revision: int
    state: str
    usable: bool
    usable_until: str | None
    reasons: list[str]
    advisories: list[str]
    name: str
    package_owner: ViewPackageOwner
    created_by: ViewCreator
    repository_owner: str
    repository_owner_id: int
    repository: str
    repository_id: int | None
    visibility: str | None
    workflow_file: str
    environment: str | None
    verified_at: str | None
    updated_at: str


def owner_of(view: View) -> OwnerRef:
    """The GitHub owner of a view's policy, as keys and scopes have it."""
    return owner_at(view.get("issuer", DEFAULT), view["repository_owner_id"])


DEFINITION = frozenset({
    "name", "package_owner", "created_by", "repository_owner", "repository_owner_id", "repository", "repository_id",
    "workflow_file", "environment", *NAMES,
})  # fmt: skip
"""The fields that say what the policy is, as opposed to how it stands."""


def view_of(policy_id: str, revision: int, standing: Standing, updated_at: Micros) -> View:
    """The view of a policy with this standing."""
    registration = standing.tenure.registration
    view: View = {
        "policy_id": policy_id,
        "revision": revision,
        "state": standing.state.value,
        "usable": standing.state in USABLE,
        "usable_until": None if standing.usable_until is None else rfc3339(standing.usable_until),
        "reasons": list(standing.reasons),
        "advisories": list(standing.advisories),
        "name": registration.name,
        "package_owner": {"account": registration.package_owner, "kind": registration.package_owner_kind},
        "created_by": {"account": registration.creator, "github_user_id": registration.creator_github_id},
        "repository_owner": standing.repository_owner,
        "repository_owner_id": registration.repository_owner_id,
        "repository": standing.tenure.repository,
        "repository_id": standing.tenure.repository_id,
        "visibility": standing.visibility,
        "workflow_file": standing.workflow_file,
        "environment": registration.environment,
        "verified_at": None if standing.verified_at is None else rfc3339(standing.verified_at),
        "updated_at": rfc3339(updated_at),
    }
    asked = registration.asked
    if asked == NOTHING:
        return view
    if asked.called_workflow is not None and standing.called_workflow is None:
        # It is not there any more. The caller is bound as before, and may call what is its own.
        asked = asked._replace(workflow_binds="caller")
    return cast("View", view | written(asked._replace(called_workflow=standing.called_workflow)))


class ChangeType(StrEnum):
    """The type of a change event."""

    PROVISIONED = "policy.provisioned"
    ACTIVATED = "policy.activated"
    DISABLED = "policy.disabled"
    REENABLED = "policy.reenabled"
    EXPIRING = "policy.expiring"
    EXPIRED = "policy.expired"
    RENEWED = "policy.renewed"
    UPDATED = "policy.updated"
    REFRESHED = "policy.refreshed"
    REMOVED = "policy.removed"


_FIRST = {
    State.PROVISIONAL: ChangeType.PROVISIONED,
    State.ACTIVE: ChangeType.ACTIVATED,
    State.DISABLED: ChangeType.DISABLED,
    State.EXPIRED: ChangeType.EXPIRED,
    State.REMOVED: ChangeType.REMOVED,
}


_NONE = object()
"""In place of a member that a view does not have."""


def change_between(before: View | None, after: View, *, renewed: bool, reminded: bool) -> ChangeType | None:
    """What to call the step from one view to the next; None if nothing that others can see is different.

    `renewed`: the policy has a window that it did not have before, on the same repository.
    `reminded`: the reminder that its window closes is due.
    """
    if before is None:
        return _FIRST[State(after["state"])]
    was, now = State(before["state"]), State(after["state"])
    if was is State.REMOVED:
        return None
    if renewed and now is not State.REMOVED:
        return ChangeType.RENEWED
    if was is not now:
        return _transition(was, now)
    # A view that another version wrote may lack members, or have more.
    unlike = {field for field in before.keys() | after.keys() if before.get(field, _NONE) != after.get(field, _NONE)}
    if before["verified_at"] is not None:
        # What a later proof is worth to a reader is in `usable_until`.
        unlike.discard("verified_at")
    if not unlike.isdisjoint(DEFINITION):
        return ChangeType.UPDATED
    if reminded:
        return ChangeType.EXPIRING
    return ChangeType.REFRESHED if unlike - {"revision", "updated_at"} else None


def _transition(was: State, now: State) -> ChangeType:
    if now in USABLE and was is State.DISABLED:
        return ChangeType.REENABLED
    if now is State.PROVISIONAL:
        # Back to a first window: the registration names another repository now.
        return ChangeType.UPDATED
    if now is State.DISABLED and was is State.EXPIRED:
        # A late login or another repository ended the expiry; what blocks is only seen again.
        return ChangeType.UPDATED
    return _FIRST[now]
