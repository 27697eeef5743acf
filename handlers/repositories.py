"""What GitHub tells of repositories: https://docs.github.com/en/webhooks/webhook-events-and-payloads#repository."""

from __future__ import annotations

from handlers.base import Handled, Handler, Incoming, UnusableEventError, hint, hints, parse
from handlers.models import Repository, RepositoryEvent
from worker.lifecycle import scopes
from worker.lifecycle.facts import Observation


def both(repository: Repository, owner_id: int | None = None) -> tuple[str, str]:
    """Where a fact about a repository goes: under its id, and under its name for policies that know no id yet."""
    owner = repository.owner.id if owner_id is None else owner_id
    return scopes.repository(owner, repository.id), scopes.unbound(owner, repository.name)


def _holder(incoming: Incoming, repository: Repository, name: str, *, held: bool) -> Observation:
    return hint(incoming, scopes.name(repository.owner.id, name), f"held_by:{repository.id}", held)


def flag(aspect: str, value: bool) -> Handler:  # noqa: FBT001 - reads as `flag("archived", True)` in the table
    """A handler for an event that says one thing about a repository."""

    def handle(incoming: Incoming) -> Handled:
        where = both(parse(RepositoryEvent, incoming).repository)
        return Handled(hints(incoming, where, aspect, value), where)

    return handle


def created(incoming: Incoming) -> Handled:
    """Never rebinds: a policy with an id sees its name taken; one without an id may take the new repository."""
    repository = parse(RepositoryEvent, incoming).repository
    _, unbound = both(repository)
    fresh = tuple(hint(incoming, unbound, aspect, False) for aspect in ("deleted", "archived", "transferred"))
    holder = _holder(incoming, repository, repository.name, held=True)
    return Handled((holder, *fresh), (unbound, holder.scope))


def deleted(incoming: Incoming) -> Handled:
    repository = parse(RepositoryEvent, incoming).repository
    where = both(repository)
    gone = hints(incoming, where, "deleted", True)
    return Handled((*gone, _holder(incoming, repository, repository.name, held=False)), where)


def renamed(incoming: Incoming) -> Handled:
    event = parse(RepositoryEvent, incoming)
    repository = event.repository
    known, unbound = both(repository)
    where = [known, unbound, scopes.name(repository.owner.id, repository.name)]
    learnt = [
        hint(incoming, known, "name", repository.name),
        _holder(incoming, repository, repository.name, held=True),
    ]
    former = event.changes and event.changes.repository and event.changes.repository.name
    if former and former.was:
        left = scopes.unbound(repository.owner.id, former.was)
        learnt += [
            hint(incoming, left, "renamed_to", repository.name),
            _holder(incoming, repository, former.was, held=False),
        ]
        where.append(left)
    return Handled(tuple(learnt), tuple(where))


def transferred(incoming: Incoming) -> Handled:
    """Comes only to the new owner, and names the old one in `changes.owner.from`, as `user` or as `organization`."""
    event = parse(RepositoryEvent, incoming)
    former = event.changes and event.changes.owner and event.changes.owner.was
    account = former and (former.organization or former.user)
    if not account:
        raise UnusableEventError(
            "repository.transferred: changes.owner.from: names no former owner, so nobody can tell whose policies "
            "this concerns; look the repository up and remove or update them by hand"
        )
    repository = event.repository
    there, here = both(repository, account.id), both(repository)
    gone = hints(incoming, there, "transferred", True)
    arrived = hints(incoming, here, "transferred", False)
    names = (
        hint(incoming, scopes.name(account.id, repository.name), f"held_by:{repository.id}", False),
        _holder(incoming, repository, repository.name, held=True),
    )
    return Handled((*gone, *arrived, *names), (*there, *here))


def visibility(said: str | None) -> Handler:
    """A handler for a change of visibility; `None`: read from the payload whether private or internal.

    A `privatized` event may still carry the old `visibility`, so the action decides.
    """

    def handle(incoming: Incoming) -> Handled:
        repository = parse(RepositoryEvent, incoming).repository
        value = said or ("internal" if repository.visibility == "internal" else "private")
        where = both(repository)
        return Handled(hints(incoming, where, "visibility", value), where)

    return handle
