"""The state of the world, and what can be read from it. The verbs that change it are in `world`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from worker.demo.fakegithub.records import (
    MAX_ID,
    NO_ACCESS,
    PERMISSIONS,
    AccountRecord,
    AppRecord,
    CollaboratorRecord,
    EnvironmentRecord,
    InstallationRecord,
    MembershipRecord,
    NotPossibleError,
    NotThereError,
    RepositoryRecord,
    RulesetRecord,
)

FIRST_ID = 2**53 + 1
"""Ids that nobody chose start where a float would lose the last digit."""


class GitHubState:
    """Who and what there is. One lock guards all of it; what is handed out is frozen or a copy."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.registration = AppRecord()
        self.lock = threading.RLock()
        self._accounts: dict[int, AccountRecord] = {}
        self._logins: dict[str, int] = {}
        self._former_logins: dict[str, int] = {}
        self._repositories: dict[int, RepositoryRecord] = {}
        self._names: dict[tuple[int, str], int] = {}
        self._former_names: dict[tuple[int, str], int] = {}
        self._owned: dict[int, set[int]] = {}
        self._members: dict[int, dict[int, MembershipRecord]] = {}
        self._collaborators: dict[int, dict[int, CollaboratorRecord]] = {}
        self._workflows: dict[int, dict[str, bytes]] = {}
        self._environments: dict[int, dict[str, EnvironmentRecord]] = {}
        self._branches: dict[int, dict[str, bool]] = {}
        self._rulesets: dict[int, dict[int, RulesetRecord]] = {}
        self._installations: dict[int, InstallationRecord] = {}
        self._last_id = FIRST_ID - 1

    # By id. What was deleted stays readable here, marked as such; an uninstalled installation does not.

    def account(self, account_id: int) -> AccountRecord:
        """Raises NotThereError."""
        with self.lock:
            record = self._accounts.get(account_id)
        if record is None:
            raise NotThereError(f"there is no account {account_id}; add it with add_org or add_user")
        return record

    def repository(self, repository_id: int) -> RepositoryRecord:
        """Raises NotThereError."""
        with self.lock:
            record = self._repositories.get(repository_id)
        if record is None:
            raise NotThereError(f"there is no repository {repository_id}; add it with add_repository")
        return record

    def installation(self, installation_id: int) -> InstallationRecord:
        """Raises NotThereError."""
        with self.lock:
            record = self._installations.get(installation_id)
        if record is None:
            raise NotThereError(f"there is no installation {installation_id}; add it with install")
        return record

    # By name, in any case of letters.

    def account_called(self, login: str) -> AccountRecord | None:
        with self.lock:
            account_id = self._logins.get(login.lower())
            return None if account_id is None else self._accounts[account_id]

    def repository_called(self, login: str, name: str) -> tuple[RepositoryRecord, bool] | None:
        """The repository of that name, and whether it, or its owner, is called so no more."""
        with self.lock:
            current = self._logins.get(login.lower())
            owner = self._former_logins.get(login.lower()) if current is None else current
            if owner is None:
                return None
            place = (owner, name.lower())
            repository_id = self._names.get(place)
            if repository_id is not None:
                return self._repositories[repository_id], current is None
            former = self._former_names.get(place)
            if former is None or self._repositories[former].deleted:
                return None
            return self._repositories[former], True

    def workflows(self, repository_id: int) -> dict[str, bytes]:
        """The workflow files of its default branch, by name."""
        with self.lock:
            return dict(self._workflows.get(repository_id, {}))

    def environments(self, repository_id: int) -> dict[str, EnvironmentRecord]:
        """Its environments, by their names in lower case."""
        with self.lock:
            return dict(self._environments.get(repository_id, {}))

    def branches(self, repository_id: int) -> dict[str, bool]:
        """Its branches by name, and whether each is protected."""
        with self.lock:
            return dict(self._branches.get(repository_id, {}))

    def rulesets(self, repository_id: int) -> dict[int, RulesetRecord]:
        """Its rulesets, and those of its owner, by id."""
        with self.lock:
            return dict(self._rulesets.get(repository_id, {}))

    # Who sees and may do what.

    def installations(self) -> list[InstallationRecord]:
        with self.lock:
            return sorted(self._installations.values(), key=lambda item: item.id)

    def installation_of(self, account_id: int) -> InstallationRecord | None:
        with self.lock:
            return next((item for item in self._installations.values() if item.account_id == account_id), None)

    def repositories_of(self, installation: InstallationRecord) -> list[RepositoryRecord]:
        """Those that the installation was given, and that its account still owns; by id."""
        with self.lock:
            owned = self._owned.get(installation.account_id, set())
            chosen = owned if installation.selection is None else owned & installation.selection
            return [self._repositories[each] for each in sorted(chosen)]

    def sees(self, installation: InstallationRecord, repository: RepositoryRecord) -> bool:
        if repository.deleted:
            return False
        return repository.visibility == "public" or is_selected(installation, repository)

    def members(self, org_id: int) -> list[AccountRecord]:
        """The active members, by id."""
        with self.lock:
            active = [user for user, member in self._members.get(org_id, {}).items() if member.state == "active"]
            return [self._accounts[user] for user in sorted(active)]

    def membership(self, org_id: int, user_id: int) -> MembershipRecord | None:
        with self.lock:
            return self._members.get(org_id, {}).get(user_id)

    def access(self, repository: RepositoryRecord, user_id: int) -> CollaboratorRecord:
        """What somebody may do: a role of their own goes before what membership gives."""
        with self.lock:
            direct = self._collaborators.get(repository.id, {}).get(user_id)
            owner = self._accounts[repository.owner_id]
            member = self._members.get(owner.id, {}).get(user_id)
        if owner.id == user_id or (member and member.role == "admin" and member.state == "active"):
            return CollaboratorRecord("admin", "admin")
        if direct is not None:
            return direct
        if member and member.state == "active" and owner.base_role != "none":
            return CollaboratorRecord(owner.base_role, PERMISSIONS.get(owner.base_role, "write"))
        return CollaboratorRecord("read", "read") if repository.visibility == "public" else NO_ACCESS

    # For the verbs; the caller holds the lock.

    def _new_id(
        self,
        requested: int | None,
        taken: dict[int, AccountRecord] | dict[int, RepositoryRecord] | dict[int, InstallationRecord],
    ) -> int:
        if requested is None:
            self._last_id += 1
            return self._last_id
        if not 0 < requested <= MAX_ID:
            raise NotPossibleError(f"{requested} is no id; give one from 1 to {MAX_ID}")
        if requested in taken:
            raise NotPossibleError(f"the id {requested} is taken; GitHub never gives one twice")
        return requested

    def _put_account(self, account: AccountRecord) -> None:
        former = self._accounts.get(account.id)
        holder = self._logins.get(account.login.lower())
        if holder not in (None, account.id):
            raise NotPossibleError(f"the login {account.login} is taken by account {holder}")
        if former is not None:
            self._logins.pop(former.login.lower(), None)
        self._accounts[account.id] = account
        if not account.deleted:
            self._logins[account.login.lower()] = account.id
            self._former_logins.pop(account.login.lower(), None)

    def _put_repository(self, repository: RepositoryRecord) -> None:
        """Whoever takes a name ends the redirects from it."""
        former = self._repositories.get(repository.id)
        place = (repository.owner_id, repository.name.lower())
        holder = self._names.get(place)
        if not repository.deleted and holder not in (None, repository.id):
            raise NotPossibleError(f"{repository.name} of owner {repository.owner_id} is taken by repository {holder}")
        if former is not None and not former.deleted:
            del self._names[former.owner_id, former.name.lower()]
            self._owned[former.owner_id].discard(former.id)
        self._repositories[repository.id] = repository
        if not repository.deleted:
            self._names[place] = repository.id
            self._former_names.pop(place, None)
            self._owned.setdefault(repository.owner_id, set()).add(repository.id)


def is_selected(installation: InstallationRecord, repository: RepositoryRecord) -> bool:
    """Whether the repository is among those that the installation may look after."""
    chosen = installation.selection is None or repository.id in installation.selection
    return chosen and repository.owner_id == installation.account_id
