"""Everything that is heard, in one table: what it is called → what it is translated by.

A webhook is looked up as `event.action`, then as `event.*`, then as `event`. What is not here is
ignored, and the sender is told so.
"""

from __future__ import annotations

from handlers import activity, installations, operators, organizations, registry, repositories
from handlers.base import OPERATOR, Handled, Handler, Incoming, UnusableEventError
from worker.lifecycle.owners import issuer_in

WEBHOOKS: dict[str, Handler] = {
    "repository.archived": repositories.archived(value=True),
    "repository.unarchived": repositories.archived(value=False),
    "repository.created": repositories.created,
    "repository.deleted": repositories.deleted,
    "repository.renamed": repositories.renamed,
    "repository.transferred": repositories.transferred,
    "repository.privatized": repositories.visibility(None),
    "repository.publicized": repositories.visibility("public"),
    "public": repositories.visibility("public"),
    "organization.member_removed": organizations.membership(left=True),
    "organization.member_added": organizations.membership(left=False),
    "organization.renamed": organizations.renamed,
    "organization.deleted": organizations.deleted,
    "installation_target.renamed": organizations.target_renamed,
    "member.removed": organizations.collaborator(lost=True),
    "member.added": organizations.collaborator(lost=False),
    "member.edited": organizations.collaborator_edited,
    "membership.*": organizations.check_owner,
    "team.*": organizations.check_owner,
    "team_add": organizations.check_owner,
    "org_block.*": organizations.check_owner,
    "installation.deleted": installations.deleted,
    "installation.suspend": installations.sight(blind=True),
    "installation.created": installations.sight(blind=False),
    "installation.unsuspend": installations.sight(blind=False),
    "installation.new_permissions_accepted": installations.sight(blind=False),
    "installation_repositories.removed": installations.repositories,
    "installation_repositories.added": installations.repositories,
    "workflow_run.completed": activity.ignored,
    "push": activity.push,
    "github_app_authorization.revoked": activity.ignored,
    "meta.deleted": installations.hook(gone=True),
    "ping": installations.hook(gone=False),
}

EVENTS: dict[str, Handler] = {
    "policy.registered": registry.registered,
    "policy.updated": registry.registered,
    "policy.renewed": registry.renewed,
    "policy.removed": registry.removed,
    "login.succeeded": registry.login_succeeded,
    "login.refused": registry.login_refused,
    "account.locked": registry.account("locked", True),
    "account.unlocked": registry.account("locked", False),
    "account.deleted": registry.account("deleted", True),
    "account.restored": registry.account("deleted", False),
    "package_owner.member_removed": registry.package_member(left=True),
    "package_owner.member_added": registry.package_member(left=False),
}
"""What `POST /events` takes."""

REGISTRATION_REFUSED = "registration.refused"
MADE: dict[str, Handler] = {REGISTRATION_REFUSED: registry.registration_refused}
"""What the HTTP API makes of events that it took, and nobody sends."""

ACTIONS: dict[str, Handler] = {
    "policy.registered": registry.registered,
    "policy.renewed": registry.renewed,
    "policy.removed": registry.removed,
    "policy.held": registry.held(held=True),
    "policy.released": registry.held(held=False),
    "policy.imported": operators.imported,
}
"""What an operator may do from the command line."""


TAKING = frozenset({
    "repository.archived", "repository.created", "repository.deleted", "repository.renamed", "repository.transferred",
    "organization.member_removed", "organization.deleted", "member.removed", "member.edited", "member.added",
    "installation.deleted", "installation.suspend", "installation_repositories.removed",
    "policy.removed", "policy.held", "account.locked", "account.deleted", "package_owner.member_removed",
})  # fmt: skip
"""Events that may take access away. They go before others: nobody delays his own removal by pushing."""


def webhook_name(event: str, action: object) -> str:
    """`repository.archived`; `push` where there is no action."""
    return f"{event}.{action}" if isinstance(action, str) and action else event


def webhook_row(name: str) -> str | None:
    """The row of the table that a webhook falls under, or None if nothing here listens to it. A payload may name any
    action; there are only so many rows, so these are what is counted.
    """
    event = name.partition(".")[0]
    return next((row for row in (name, f"{event}.*", event) if row in WEBHOOKS), None)


def webhook_handler(name: str) -> Handler | None:
    """The handler of a webhook, or None if nothing here listens to it."""
    row = webhook_row(name)
    return None if row is None else WEBHOOKS[row]


def handle(incoming: Incoming) -> Handled:
    """Translate an event.

    Raises:
        UnusableEventError: it has no handler, or does not have the form that its handler expects.

    """
    kind, name = incoming.source.kind, incoming.source.event
    said_by = ACTIONS if kind == OPERATOR else EVENTS | MADE
    handler = said_by.get(name) if issuer_in(kind) is None else webhook_handler(name)
    if handler is None:
        raise UnusableEventError(f"{name}: nothing listens to this event; drop it, or upgrade Tenure and replay it")
    return handler(incoming)
