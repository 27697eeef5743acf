"""What GitHub tells of the App's installations: how far Tenure can see."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from handlers.base import Handled, Handler, Incoming, hint, hints, parse
from handlers.models import InstallationEvent, InstallationRepositoriesEvent, ShortRepository
from worker.lifecycle import scopes
from worker.lifecycle.facts import Observation


def sight(*, blind: bool) -> Handler:
    """`installation.deleted` and `suspend` blind us, `created` and the like give sight back.

    Blindness takes nothing away at once: policies lapse when the last proof is too old.
    """

    def handle(incoming: Incoming) -> Handled:
        event = parse(InstallationEvent, incoming)
        owner = event.installation.account.id
        everything = scopes.owner(owner)
        learnt = [hint(incoming, everything, "blind", blind)]
        if not blind:
            # An App that was taken away and installed again sends no `installation_repositories.added`.
            learnt += _reach(incoming, owner, event.repositories, unreachable=False)
        return Handled(tuple(learnt), (everything,))

    return handle


def _reach(
    incoming: Incoming, owner_id: int, listed: Iterable[ShortRepository], *, unreachable: bool
) -> Iterator[Observation]:
    for repository in listed:
        known = scopes.repository(owner_id, repository.id), scopes.unbound(owner_id, repository.name)
        yield from hints(incoming, known, "unreachable", unreachable)


def repositories(incoming: Incoming) -> Handled:
    """`installation_repositories.added` and `removed`.

    A removed repository may have been deleted, transferred or taken from the App. Where GitHub cannot be asked, the
    hint is all there is: out of reach until it is added again.
    """
    event = parse(InstallationRepositoriesEvent, incoming)
    owner = event.installation.account.id
    learnt = (
        *_reach(incoming, owner, event.repositories_removed, unreachable=True),
        *_reach(incoming, owner, event.repositories_added, unreachable=False),
    )
    return Handled(learnt, tuple(dict.fromkeys(observation.scope for observation in learnt)))
