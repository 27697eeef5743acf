"""What GitHub tells of the App's installations: how far Tenure can see."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from handlers.base import Handled, Handler, Incoming, hint, parse
from handlers.models import (
    HookEvent,
    InstallationEvent,
    InstallationPayload,
    InstallationRepositoriesEvent,
    ShortRepository,
)
from worker.lifecycle import scopes
from worker.lifecycle import sight as aspects
from worker.lifecycle.facts import Observation
from worker.lifecycle.owners import OwnerRef

ALL = "all"


def sight(*, blind: bool) -> Handler:
    """`installation.suspend` blinds an installation; `created`, `unsuspend` and the like let it see.

    Blindness takes nothing away at once: policies lapse when the last proof is too old.
    """

    def handle(incoming: Incoming) -> Handled:
        event = parse(InstallationEvent, incoming)
        owner = _owner_told(incoming, event.installation)
        if owner is None:
            return Handled()
        everything, suspended = scopes.owner(owner), blind or event.installation.suspended_at is not None
        learnt = [_seeing(incoming, event.installation, everything, blind=suspended)]
        if not blind:
            # An App that was taken away and installed again sends no `installation_repositories.added`.
            learnt += _selection(incoming, event.installation, everything, event.installation.repository_selection)
            learnt += _reach(incoming, event.installation, owner, event.repositories, unreachable=False)
        return Handled(tuple(learnt), (everything,))

    return handle


def deleted(incoming: Incoming) -> Handled:
    """`installation.deleted` is final: an App that is installed again is another installation."""
    installation = parse(InstallationEvent, incoming).installation
    owner = _owner_told(incoming, installation)
    if owner is None:
        return Handled()
    everything = scopes.owner(owner)
    if installation.id is None:
        return Handled((hint(incoming, everything, "blind", True),), (everything,))
    gone = hint(incoming, everything, aspects.deleted(str(installation.id)), True, dated=installation.updated_at)
    return Handled((gone,), (everything,))


def repositories(incoming: Incoming) -> Handled:
    """`installation_repositories.added` and `removed`.

    A removed repository may have been deleted, transferred or taken from the App. Where GitHub cannot be asked, the
    hint is all there is: out of reach until it is added again, or another installation sees it.
    """
    event = parse(InstallationRepositoriesEvent, incoming)
    installation = event.installation
    owner = _owner_told(incoming, installation)
    if owner is None:
        return Handled()
    listed = (
        *_reach(incoming, installation, owner, event.repositories_removed, unreachable=True),
        *_reach(incoming, installation, owner, event.repositories_added, unreachable=False),
    )
    everything, selection = scopes.owner(owner), event.repository_selection or installation.repository_selection
    learnt = (*listed, *_selection(incoming, installation, everything, selection))
    checks = tuple(dict.fromkeys(observation.scope for observation in listed))
    return Handled(learnt, checks or ((everything,) if learnt else ()))


def hook(*, gone: bool) -> Handler:
    """`ping` and `meta.deleted` of an organisation's own webhook: it is heard from now on, or can be heard no longer.

    The App's webhook, and a repository's, are none of an owner's.
    """

    def handle(incoming: Incoming) -> Handled:
        event = parse(HookEvent, incoming)
        kind = event.hook.type if event.hook else None
        if (
            event.organization is None
            or event.hook_id is None
            or event.repository
            or kind not in ("Organization", None)
        ):
            return Handled()
        everything = scopes.owner(incoming.owner(event.organization.id))
        name = f"hook-{event.hook_id}"
        return Handled((hint(incoming, everything, aspects.deleted(name) if gone else aspects.blind(name), gone),))

    return handle


def _owner_told(incoming: Incoming, installation: InstallationPayload) -> OwnerRef | None:
    return None if installation.owner_id is None else incoming.owner(installation.owner_id)


def _seeing(incoming: Incoming, installation: InstallationPayload, everything: str, *, blind: bool) -> Observation:
    if installation.id is None:
        return hint(incoming, everything, "blind", blind)
    dated = installation.suspended_at if blind and installation.suspended_at is not None else installation.updated_at
    return hint(incoming, everything, aspects.blind(str(installation.id)), blind, dated=dated)


def _selection(
    incoming: Incoming, installation: InstallationPayload, everything: str, selection: str | None
) -> Iterator[Observation]:
    if installation.id is not None and selection is not None:
        aspect = aspects.narrowed(str(installation.id))
        yield hint(incoming, everything, aspect, selection != ALL, dated=installation.updated_at)


def _reach(
    incoming: Incoming,
    installation: InstallationPayload,
    owner_id: OwnerRef,
    listed: Iterable[ShortRepository],
    *,
    unreachable: bool,
) -> Iterator[Observation]:
    aspect = "unreachable" if installation.id is None else aspects.unreachable(str(installation.id))
    for repository in listed:
        for scope in (scopes.repository(owner_id, repository.id), scopes.unbound(owner_id, repository.name)):
            yield hint(incoming, scope, aspect, unreachable, dated=installation.updated_at)
