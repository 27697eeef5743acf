"""Which policies somebody looks for."""

from __future__ import annotations

from dataclasses import dataclass

from worker.lifecycle.owners import OwnerRef, owner_from
from worker.lifecycle.views import View, owner_of


@dataclass(frozen=True, slots=True)
class PolicyCriteria:
    """What a policy should be like; None for what does not matter."""

    owner: str | None = None
    """GitHub owner: login, id, or alias/id of another instance than the default one."""
    repository: str | None = None
    """Name, owner/name or id."""
    package_owner: str | None = None
    state: str | None = None
    reason: str | None = None
    named: str | None = None
    """Any of its ids or names: its own, its owner's, its repository's, its package owner's, its creator's account."""

    def admits(self, view: View) -> bool:
        login, name = view["repository_owner"].lower(), view["repository"].lower()
        owners = {login, str(owner_of(view))}
        repositories = {name, f"{login}/{name}", str(view["repository_id"])}
        return (
            (self.owner is None or self.owner.lower() in owners)
            and (self.repository is None or self.repository.lower() in repositories)
            and (self.package_owner is None or self.package_owner == view["package_owner"]["account"])
            and (self.state is None or self.state == view["state"])
            and (self.reason is None or self.reason in view["reasons"])
            and (self.named is None or self.named.lower() in owners | repositories or self.named in _accounts(view))
        )

    @property
    def owner_id(self) -> OwnerRef | None:
        """The owner, if its id is what was given."""
        return owner_given(self.owner)

    @property
    def repository_id(self) -> int | None:
        """The repository's id, if that is what was given."""
        return identifier(self.repository)


def _accounts(view: View) -> set[str]:
    return {view["policy_id"], view["package_owner"]["account"], view["created_by"]["account"]}


def owner_given(given: str | None) -> OwnerRef | None:
    """An owner by its id, `600613` or `ghes/600613`; None for anything else. A name of digits alone is taken for an id."""
    try:
        return None if given is None else owner_from(given)
    except ValueError:
        return None


def identifier(given: str | None) -> int | None:
    """An id in digits; None for anything else. A name of digits alone is taken for an id."""
    return int(given) if given is not None and given.isascii() and given.isdigit() and len(given) < 20 else None
