"""What GitHub tells of organisations, their members, and of collaborators."""

from __future__ import annotations

from handlers.base import Handled, Handler, Incoming, hint, hints, parse
from handlers.models import (
    ENTERPRISE,
    AccountPayload,
    InstallationTargetEvent,
    LoginChanged,
    MemberEvent,
    MembershipEvent,
    OrganizationEvent,
    OwnedEvent,
    TargetPayload,
)
from handlers.repositories import both, owner_of, owner_told
from worker.lifecycle import scopes

WRITERS = frozenset({"write", "maintain", "admin"})
"""Roles that may run a workflow by hand: https://docs.github.com/en/organizations/managing-user-access-to-your-organizations-repositories/managing-repository-roles/repository-roles-for-an-organization."""
READERS = frozenset({"read", "triage", "none"})


def membership(*, left: bool) -> Handler:
    """`organization.member_removed` and `member_added`. A null user is normal: then the whole owner is checked."""

    def handle(incoming: Incoming) -> Handled:
        event = parse(MembershipEvent, incoming)
        user = event.membership.user if event.membership else None
        owner = incoming.owner(event.organization.id)
        if user is None:
            return Handled(checks=(scopes.owner(owner),))
        member = scopes.member(owner, user.id)
        return Handled((hint(incoming, member, "left", left),), (member,))

    return handle


def deleted(incoming: Incoming) -> Handled:
    organization = parse(OrganizationEvent, incoming).organization
    owner = scopes.owner(incoming.owner(organization.id))
    where = (owner, scopes.called_owner(organization.login, incoming.issuer)) if organization.login else (owner,)
    return Handled(hints(incoming, where, "deleted", True), (owner,))


def renamed(incoming: Incoming) -> Handled:
    """The new login is in the organisation itself; `changes` only repeats the old one, and may be missing."""
    event = parse(OrganizationEvent, incoming)
    return _follow(incoming, event.organization, event.changes)


def target_renamed(incoming: Incoming) -> Handled:
    """`installation_target.renamed`: the same for users, too. An enterprise is no owner, whatever its id; and of an account
    that is gone there is nothing to follow.
    """
    event = parse(InstallationTargetEvent, incoming)
    if event.account is None or event.target_type == ENTERPRISE or event.account.enterprise:
        return Handled()
    return _follow(incoming, event.account, event.changes)


def _follow(incoming: Incoming, account: AccountPayload | TargetPayload, changes: LoginChanged | None) -> Handled:
    login, owner = account.login or account.name, scopes.owner(incoming.owner(account.id))
    if not login:
        return Handled((), (owner,))
    learnt = [hint(incoming, owner, "owner_login", login)]
    former = changes and changes.login and changes.login.was
    if former:
        left = scopes.called_owner(former, incoming.issuer)
        learnt.append(hint(incoming, left, "renamed_to", f"{account.id}:{login}"))
    return Handled(tuple(learnt), (owner,))


def collaborator(*, lost: bool) -> Handler:
    """`member.removed` and `member.added`: direct access to one repository."""

    def handle(incoming: Incoming) -> Handled:
        event = parse(MemberEvent, incoming)
        return _access(incoming, event, lost=lost or _role(event) in READERS)

    return handle


def collaborator_edited(incoming: Incoming) -> Handled:
    """Access below write is as good as none. A custom role is what it is based on; without that, only a check can tell."""
    event = parse(MemberEvent, incoming)
    role = _role(event)
    if role in WRITERS:
        return _access(incoming, event, lost=False)
    if role in READERS:
        return _access(incoming, event, lost=True)
    owner = owner_told(incoming, event)
    return Handled(checks=() if owner is None else both(event.repository, owner))


def _role(event: MemberEvent) -> str | None:
    """The role that somebody has been given, where the event says it.

    `role_name` is the role's own name, `permission` the role that a custom one is based on:
    https://docs.github.com/en/webhooks/webhook-events-and-payloads#member
    """
    if event.changes is None:
        return None
    roles = [change.new for change in (event.changes.role_name, event.changes.permission) if change and change.new]
    return next((role for role in roles if role in WRITERS | READERS), roles[0] if roles else None)


def _access(incoming: Incoming, event: MemberEvent, *, lost: bool) -> Handled:
    if event.owner_id is None and not lost:
        return Handled()
    scopes_named = both(event.repository, owner_of(incoming, event))
    if event.member is None:
        return Handled(checks=scopes_named)
    where = [scopes.collaborator(scope, event.member.id) for scope in scopes_named]
    return Handled(hints(incoming, where, "lost", lost), scopes_named)


def check_owner(incoming: Incoming) -> Handled:
    """Teams, blocks and the like change access in ways that only GitHub can tell: ask, about as little as is named."""
    event = parse(OwnedEvent, incoming)
    accounts = (event.organization, event.repository.owner if event.repository else None)
    owner_id = next((account.id for account in accounts if account is not None), None)
    if owner_id is None and event.installation is not None:
        owner_id = event.installation.owner_id
    person = event.member or event.blocked_user
    if owner_id is None:
        return Handled()
    owner = incoming.owner(owner_id)
    if person is not None:
        return Handled(checks=(scopes.member(owner, person.id),))
    return Handled(checks=both(event.repository, owner) if event.repository else (scopes.owner(owner),))
