"""What GitHub tells of repositories: https://docs.github.com/en/webhooks/webhook-events-and-payloads#repository."""

from __future__ import annotations

from collections.abc import Iterable

from handlers.base import Handled, Handler, Incoming, UnusableEventError, hint, hints, parse
from handlers.models import (
    AboutRepository,
    AccountPayload,
    ArchivedEvent,
    RepositoryEvent,
    RepositoryPayload,
    VisibilityEvent,
)
from worker.lifecycle import scopes
from worker.lifecycle.facts import Observation
from worker.lifecycle.owners import OwnerRef


def both(repository: RepositoryPayload, owner_id: OwnerRef) -> tuple[str, str]:
    """Where a fact about a repository goes: under its id, and under its name for policies that know no id yet."""
    return scopes.repository(owner_id, repository.id), scopes.unbound(owner_id, repository.name)


def by_address(incoming: Incoming, owner: AccountPayload | None, name: str) -> tuple[str, ...]:
    """Where a fact goes for policies of other owners, who call a workflow of this repository by its address."""
    login = owner and (owner.login or owner.name)
    return (scopes.called(login, name, incoming.issuer),) if login else ()


def owner_told(incoming: Incoming, event: AboutRepository) -> OwnerRef | None:
    """Whose the repository is, where the event says so."""
    return None if event.owner_id is None else incoming.owner(event.owner_id)


def owner_of(incoming: Incoming, event: AboutRepository) -> OwnerRef:
    """Whose the repository is.

    Raises:
        UnusableEventError: the event does not say, so nobody can tell whose policies lose something.
    """
    owner = owner_told(incoming, event)
    if owner is None:
        raise UnusableEventError(
            f"{incoming.source.event}: repository.owner.id: neither this nor organization.id is given; look the "
            "repository up, and hold or remove its policies by hand"
        )
    return owner


def _holder(
    incoming: Incoming, repository: RepositoryPayload, owner: OwnerRef, name: str, *, held: bool
) -> Observation:
    return hint(incoming, scopes.name(owner, name), f"held_by:{repository.id}", held)


def _disabled(incoming: Incoming, event: AboutRepository, where: Iterable[str]) -> tuple[Observation, ...]:
    """Every event about a repository says whether GitHub has disabled it; none tells of just that."""
    value = event.repository.disabled
    return () if value is None else hints(incoming, where, "disabled", value)


def archived(*, value: bool) -> Handler:
    """`repository.archived` and `unarchived`, in the order in which they happened, whatever the order they come in."""

    def handle(incoming: Incoming) -> Handled:
        event = parse(ArchivedEvent, incoming)
        if event.owner_id is None and not value:
            return Handled()
        where = both(event.repository, owner_of(incoming, event))
        learnt = hints(incoming, where, "archived", value, dated=event.repository.updated_at)
        # Most of these say that it is not, which nobody had thought.
        return Handled((*learnt, *_disabled(incoming, event, where)) if event.repository.disabled else learnt, where)

    return handle


def created(incoming: Incoming) -> Handled:
    """Never rebinds: a policy with an id sees its name taken; one without an id may take the new repository.

    Under an id that was deleted it is that very repository, restored:
    https://docs.github.com/en/repositories/creating-and-managing-repositories/restoring-a-deleted-repository
    """
    event = parse(RepositoryEvent, incoming)
    repository, owner = event.repository, owner_told(incoming, event)
    if owner is None:
        return Handled()
    scope, unbound = both(repository, owner)
    restored = hint(incoming, scope, "deleted", False)
    fresh = tuple(hint(incoming, unbound, aspect, False) for aspect in ("deleted", "archived", "transferred"))
    holder = _holder(incoming, repository, owner, repository.name, held=True)
    learnt = (holder, restored, *fresh, *_disabled(incoming, event, (scope, unbound)))
    return Handled(learnt, (scope, unbound, holder.scope))


def deleted(incoming: Incoming) -> Handled:
    event = parse(RepositoryEvent, incoming)
    repository, owner = event.repository, owner_of(incoming, event)
    where = both(repository, owner)
    gone = hints(incoming, (*where, *by_address(incoming, repository.owner, repository.name)), "deleted", True)
    return Handled((*gone, _holder(incoming, repository, owner, repository.name, held=False)), where)


def renamed(incoming: Incoming) -> Handled:
    event = parse(RepositoryEvent, incoming)
    repository, owner = event.repository, owner_of(incoming, event)
    scope, unbound = both(repository, owner)
    where = [scope, unbound, scopes.name(owner, repository.name)]
    learnt = [
        hint(incoming, scope, "name", repository.name),
        _holder(incoming, repository, owner, repository.name, held=True),
        *_disabled(incoming, event, (scope, unbound)),
    ]
    former = event.changes and event.changes.former_name
    if former:
        left = scopes.unbound(owner, former)
        learnt.append(hint(incoming, left, "renamed_to", repository.name))
        there = by_address(incoming, repository.owner, former)
        learnt += hints(incoming, there, "renamed_to", f"{repository.id}:{repository.name}")
        if former.lower() != repository.name.lower():
            learnt.append(_holder(incoming, repository, owner, former, held=False))
        where.append(left)
    return Handled(tuple(learnt), tuple(dict.fromkeys(where)))


def transferred(incoming: Incoming) -> Handled:
    """Comes only to the new owner, and names the old one in `changes.owner.from`, as `user` or as `organization`.

    A repository may get a new name on its way, which `changes.repository.name.from` tells. Both accounts may be null,
    when the old owner is not there any more: then only the new one's side is learnt.

    Raises:
        UnusableEventError: nothing is said of the old owner, so nobody can tell whose policies lose something.
    """
    event = parse(RepositoryEvent, incoming)
    if event.changes is None or not event.changes.names_former_owner:
        raise UnusableEventError(
            "repository.transferred: changes.owner.from: names no former owner, so nobody can tell whose policies "
            "this concerns; look the repository up and remove or update them by hand"
        )
    repository, former_owner = event.repository, event.changes.former_owner
    name = event.changes.former_name or repository.name
    learnt: list[Observation] = []
    checks: list[str] = []
    if former_owner is not None:
        was = incoming.owner(former_owner.id)
        there = scopes.repository(was, repository.id), scopes.unbound(was, name)
        learnt += hints(incoming, (*there, *by_address(incoming, former_owner, name)), "transferred", True)
        learnt.append(_holder(incoming, repository, was, name, held=False))
        checks += there
    owner = owner_told(incoming, event)
    if owner is not None:
        here = both(repository, owner)
        learnt += hints(incoming, here, "transferred", False)
        learnt += _disabled(incoming, event, here)
        learnt.append(_holder(incoming, repository, owner, repository.name, held=True))
        checks += here
    return Handled(tuple(learnt), tuple(checks))


def visibility(announced: str | None) -> Handler:
    """A handler for a change of visibility; `None`: read from the payload whether private or internal.

    A `privatized` event may still carry the old `visibility`, so the action decides.
    """

    def handle(incoming: Incoming) -> Handled:
        event = parse(VisibilityEvent, incoming)
        owner = owner_told(incoming, event)
        if owner is None:
            return Handled()
        value = announced or ("internal" if event.repository.visibility == "internal" else "private")
        where = both(event.repository, owner)
        return Handled((*hints(incoming, where, "visibility", value), *_disabled(incoming, event, where)), where)

    return handle
