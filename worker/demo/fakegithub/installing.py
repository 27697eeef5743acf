"""The App's side of the world: where it is installed, what it may see there, and what it is told."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeVar

from worker.demo.fakegithub import payloads
from worker.demo.fakegithub.hooks import Hooks
from worker.demo.fakegithub.payloads import Json, WebhookPayload
from worker.demo.fakegithub.records import (
    AccountRecord,
    DeliveryRecord,
    InstallationRecord,
    NotPossibleError,
    NotThereError,
    RepositoryRecord,
)
from worker.demo.fakegithub.state import GitHubState, is_selected

SENDER = AccountRecord(583231, "somebody", "User")
"""Who did it, as webhooks have it."""

ResultT = TypeVar("ResultT")


class Installing(GitHubState):
    def __init__(self, app_id: int, clock: Callable[[], float] = time.time) -> None:
        super().__init__(clock)
        self.app_id = app_id
        self.hooks = Hooks(clock, self.lock)

    # Verbs.

    def install(
        self,
        account_id: int,
        *,
        installation_id: int | None = None,
        repositories: Iterable[int] | None = None,
        members_permission: bool = True,
        tell: bool = False,
    ) -> InstallationRecord:
        """Install the App; `repositories` are ids, None: all that there are and will be."""
        with self.lock:
            holder = self._living_account(account_id)
            if self.installation_of(account_id) is not None:
                raise NotPossibleError(f"the App is installed at {holder.login} already; uninstall it first")
            made = InstallationRecord(
                self._new_id(installation_id, self._installations),
                account_id,
                selection=None if repositories is None else frozenset(repositories),
                members_permission=members_permission,
            )
            self._installations[made.id] = made
        return self._send_installation(made, "created", tell=tell)

    def uninstall(self, installation_id: int, *, tell: bool = False) -> None:
        with self.lock:
            gone = self.installation(installation_id)
            del self._installations[installation_id]
        self._send_installation(gone, "deleted", tell=tell)

    def suspend(self, installation_id: int, *, suspended: bool = True, tell: bool = False) -> InstallationRecord:
        """`suspended=False` takes it back."""
        moment = self.clock() if suspended else None
        with self.lock:
            changed = replace(self.installation(installation_id), suspended_at=moment)
            self._installations[installation_id] = changed
        return self._send_installation(changed, "suspend" if suspended else "unsuspend", tell=tell)

    def permit_members(self, installation_id: int, *, permitted: bool, tell: bool = False) -> InstallationRecord:
        """Whether the App may read members; only that it may from now on is told."""
        with self.lock:
            changed = replace(self.installation(installation_id), members_permission=permitted)
            self._installations[installation_id] = changed
        return self._send_installation(changed, "new_permissions_accepted", tell=tell and permitted)

    def permit(self, installation_id: int, permission: str, *, permitted: bool = True) -> InstallationRecord:
        """A permission for reading, beside metadata and members: `contents`. Tokens that were issued keep what they had."""
        with self.lock:
            old = self.installation(installation_id)
            given = old.permissions | {permission} if permitted else old.permissions - {permission}
            changed = self._installations[installation_id] = replace(old, permissions=given)
        return changed

    def give_repository(self, installation_id: int, repository_id: int, *, tell: bool = False) -> InstallationRecord:
        with self.lock:
            old, repo = self.installation(installation_id), self._own_repository(installation_id, repository_id)
            changed = replace(old, selection=None if old.selection is None else old.selection | {repository_id})
            self._installations[installation_id] = changed
        return self._send_reach(changed, "added", repo, tell=tell)

    def take_repository_away(
        self, installation_id: int, repository_id: int, *, tell: bool = False
    ) -> InstallationRecord:
        """Where the App was given all, it keeps the others."""
        with self.lock:
            old, repo = self.installation(installation_id), self._own_repository(installation_id, repository_id)
            selected = self._owned[old.account_id] if old.selection is None else old.selection
            changed = replace(old, selection=frozenset(selected) - {repository_id})
            self._installations[installation_id] = changed
        return self._send_reach(changed, "removed", repo, tell=tell)

    def webhook_target(self, url: str, secret: str) -> None:
        """Where webhooks go from now on: an http address on loopback, with its port."""
        self.hooks.aim(url, secret)

    def record_delivery(
        self,
        event: str,
        status_code: int,
        *,
        action: str | None = None,
        guid: str | None = None,
        delivered_at: float | None = None,
        installation_id: int | None = None,
        repository_id: int | None = None,
        redelivery: bool = False,
        payload: Json | None = None,
    ) -> DeliveryRecord:
        """Put a delivery into the log that was never sent. `delivered_at` is in seconds since 1970, now by default."""
        draft = DeliveryRecord(
            id=0,
            guid=guid or str(uuid.uuid4()),
            delivered_at=self.clock() if delivered_at is None else delivered_at,
            status_code=status_code,
            event=event,
            action=action,
            installation_id=installation_id,
            repository_id=repository_id,
            redelivery=redelivery,
            body=payloads.encode({} if payload is None else payload),
        )
        return self.hooks.record(draft)

    # What several verbs have in common.

    def _living_account(self, account_id: int) -> AccountRecord:
        account = self.account(account_id)
        if account.deleted:
            raise NotThereError(f"{account.login} is deleted; add another account")
        return account

    def _living_repository(self, repository_id: int) -> RepositoryRecord:
        repository = self.repository(repository_id)
        if repository.deleted:
            raise NotThereError(f"{repository.name} is deleted; recreate gives its name to another repository")
        return repository

    def _hears(self, account_id: int, repo: RepositoryRecord | None = None) -> int | None:
        """The installation through which the App would be told."""
        installation = self.installation_of(account_id)
        if installation is None or installation.suspended or (repo is not None and not is_selected(installation, repo)):
            return None
        return installation.id

    def _sent(self, result: ResultT, tell: bool, hears: int | None, *webhooks: WebhookPayload) -> ResultT:
        """The verb's result, after its webhooks were sent; the lock must not be held."""
        if tell and hears is not None:
            through = {"id": hears, "node_id": f"I_{hears}"}
            for webhook in webhooks:
                body = {"installation": through, **webhook.payload, "sender": payloads.account(SENDER)}
                self.hooks.send(webhook._replace(payload=body), hears)
        return result

    def _send_installation(self, item: InstallationRecord, action: str, *, tell: bool) -> InstallationRecord:
        with self.lock:
            holder = self.account(item.account_id)
            listed = [payloads.short_repository(repo, holder) for repo in self.repositories_of(item)]
        whole = payloads.installation(item, holder, self.app_id)
        return self._sent(item, tell, item.id, payloads.about_installation(action, whole, listed))

    def _own_repository(self, installation_id: int, repository_id: int) -> RepositoryRecord:
        repo, holder = self._living_repository(repository_id), self.installation(installation_id).account_id
        if repo.owner_id != holder:
            raise NotPossibleError(f"repository {repo.id} does not belong to account {holder}; transfer it first")
        return repo

    def _send_reach(
        self, changed: InstallationRecord, action: str, repo: RepositoryRecord, *, tell: bool
    ) -> InstallationRecord:
        holder = self.account(changed.account_id)
        whole = payloads.installation(changed, holder, self.app_id)
        webhook = payloads.about_reach(action, whole, payloads.short_repository(repo, holder))
        return self._sent(changed, tell, changed.id, webhook)
