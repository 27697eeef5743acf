"""What GitHub tells of the App's installations: how far Tenure can see."""

from __future__ import annotations

from handlers.base import Handled, Handler, Incoming, hint, parse
from handlers.models import InstallationEvent, InstallationRepositoriesEvent
from worker.lifecycle import scopes


def sight(*, blind: bool) -> Handler:
    """`installation.deleted` and `suspend` blind us, `created` and the like give sight back.

    Blindness takes nothing away at once: policies lapse when the last proof is too old.
    """

    def handle(incoming: Incoming) -> Handled:
        owner = parse(InstallationEvent, incoming).installation.account.id
        return Handled((hint(incoming, scopes.owner(owner), "blind", blind),), (owner,))

    return handle


def repositories(incoming: Incoming) -> Handled:
    """`installation_repositories.added` and `removed`.

    A removed repository may have been deleted, transferred or taken from the App. Where GitHub cannot be asked, the
    hint is all there is: out of reach until it is added again.
    """
    event = parse(InstallationRepositoriesEvent, incoming)
    owner = event.installation.account.id
    learnt = [
        hint(incoming, scope, "unreachable", unreachable)
        for listed, unreachable in ((event.repositories_removed, True), (event.repositories_added, False))
        for repository in listed
        for scope in (scopes.repository(owner, repository.id), scopes.unbound(owner, repository.name))
    ]
    return Handled(tuple(learnt), (owner,))
