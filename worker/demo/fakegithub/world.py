"""What people do on GitHub, as verbs. Each changes the state at once and, with `tell`, sends GitHub's webhooks of it.

A webhook reaches Tenure only through an installation: of the account that it is about, not suspended, and, for a
repository, given that repository. Where there is none, nothing is sent, as on GitHub.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from worker.demo.fakegithub import payloads
from worker.demo.fakegithub.installing import Installing
from worker.demo.fakegithub.payloads import Json
from worker.demo.fakegithub.records import (
    PERMISSIONS,
    AccountRecord,
    CollaboratorRecord,
    EnvironmentRecord,
    MembershipRecord,
    MemberState,
    NotPossibleError,
    NotThereError,
    RepositoryRecord,
    RulesetRecord,
    Visibility,
)


class World(Installing):
    """The state with everything that can happen to it.

    Every verb raises NotThereError or NotPossibleError, and then has changed nothing; only that there is no target to
    tell of it is found after the change.
    """

    # Accounts.

    def add_org(self, login: str, *, account_id: int | None = None, base_role: str = "write") -> AccountRecord:
        with self.lock:
            org = AccountRecord(self._new_id(account_id, self._accounts), login, "Organization", base_role=base_role)
            self._put_account(org)
            return org

    def add_user(self, login: str, *, account_id: int | None = None) -> AccountRecord:
        with self.lock:
            user = AccountRecord(self._new_id(account_id, self._accounts), login, "User")
            self._put_account(user)
            return user

    def rename_account(self, account_id: int, login: str, *, tell: bool = False) -> AccountRecord:
        """Old addresses of its repositories lead to them until somebody else takes the old login."""
        with self.lock:
            old = self._living_account(account_id)
            new = replace(old, login=login)
            self._put_account(new)
            if old.login.lower() != login.lower():
                self._former_logins[old.login.lower()] = account_id
            hears = self._hears(account_id)
        webhooks = [payloads.about_target(new, old.login)]
        if new.kind == "Organization":
            webhooks.insert(0, payloads.about_org("renamed", new, changes={"login": {"from": old.login}}))
        return self._sent(new, tell, hears, *webhooks)

    def delete_account(self, account_id: int, *, tell: bool = False) -> AccountRecord:
        """With its repositories, memberships and installation. A user's end is told to nobody."""
        with self.lock:
            gone = replace(self._living_account(account_id), deleted=True)
            hears = self._hears(account_id)
            for each in list(self._owned.get(account_id, ())):
                self._put_repository(replace(self._repositories[each], deleted=True))
            self._put_account(gone)
            for table in (self._members, self._collaborators):
                for people in table.values():
                    people.pop(account_id, None)
            self._members.pop(account_id, None)
            installed = self.installation_of(account_id)
            if installed is not None:
                del self._installations[installed.id]
        webhooks = [payloads.about_org("deleted", gone)] if gone.kind == "Organization" else []
        return self._sent(gone, tell, hears, *webhooks)

    # Repositories.

    def add_repository(
        self,
        owner_id: int,
        name: str,
        *,
        repository_id: int | None = None,
        visibility: Visibility = "private",
        archived: bool = False,
        tell: bool = False,
    ) -> RepositoryRecord:
        with self.lock:
            self._living_account(owner_id)
            new_id = self._new_id(repository_id, self._repositories)
            repo = RepositoryRecord(new_id, name, owner_id, visibility=visibility, archived=archived)
            self._put_repository(repo)
        return self._send_about(repo, "created", tell=tell)

    def rename_repository(self, repository_id: int, name: str, *, tell: bool = False) -> RepositoryRecord:
        """The old name leads to it until another repository takes that name."""
        with self.lock:
            old = self._living_repository(repository_id)
            new = self._move(old, replace(old, name=name))
        return self._send_about(new, "renamed", {"repository": {"name": {"from": old.name}}}, tell=tell)

    def transfer(self, repository_id: int, owner_id: int, *, tell: bool = False) -> RepositoryRecord:
        """Only the new owner's side is told. Old addresses lead to it, as after a rename."""
        with self.lock:
            old = self._living_repository(repository_id)
            former = self.account(old.owner_id)
            self._living_account(owner_id)
            new = self._move(old, replace(old, owner_id=owner_id))
        kind = "organization" if former.kind == "Organization" else "user"
        return self._send_about(new, "transferred", {"owner": {"from": {kind: payloads.account(former)}}}, tell=tell)

    def delete_repository(self, repository_id: int, *, tell: bool = False) -> RepositoryRecord:
        with self.lock:
            old = self._living_repository(repository_id)
            hears = self._hears(old.owner_id, old)
            gone = replace(old, deleted=True)
            self._put_repository(gone)
            self._collaborators.pop(repository_id, None)
        webhook = payloads.about_repository("deleted", old, self.account(old.owner_id))
        return self._sent(gone, tell, hears, webhook)

    def recreate(self, repository_id: int, *, new_id: int | None = None, tell: bool = False) -> RepositoryRecord:
        """Another repository of the same owner and name; the old one is deleted first, if it still is there."""
        old = self.repository(repository_id)
        if not old.deleted:
            self.delete_repository(repository_id, tell=tell)
        return self.add_repository(old.owner_id, old.name, repository_id=new_id, visibility=old.visibility, tell=tell)

    def archive(self, repository_id: int, *, archived: bool = True, tell: bool = False) -> RepositoryRecord:
        """`archived=False` takes it back."""
        new = self._change(repository_id, archived=archived)
        return self._send_about(new, "archived" if archived else "unarchived", tell=tell)

    def set_visibility(self, repository_id: int, visibility: Visibility, *, tell: bool = False) -> RepositoryRecord:
        new = self._change(repository_id, visibility=visibility)
        if visibility != "public":
            return self._send_about(new, "privatized", {}, tell=tell)
        self._send_about(new, "", event="public", tell=tell)
        return self._send_about(new, "publicized", tell=tell)

    def block(self, repository_id: int, *, blocked: bool = True) -> RepositoryRecord:
        """GitHub answers 451; nobody is told."""
        return self._change(repository_id, blocked=blocked)

    def put_workflow(self, repository_id: int, file: str, text: str, *, tell: bool = False) -> None:
        """Push a workflow file to the default branch."""
        with self.lock:
            repo = self._living_repository(repository_id)
            files = self._workflows.setdefault(repository_id, {})
            kind = "modified" if file in files else "added"
            files[file] = text.encode()
        self._pushed(repo, kind, file, tell=tell)

    def remove_workflow(self, repository_id: int, file: str, *, tell: bool = False) -> None:
        """Push its removal."""
        with self.lock:
            repo = self._living_repository(repository_id)
            if self._workflows.get(repository_id, {}).pop(file, None) is None:
                raise NotThereError(f"{repo.name} has no workflow {file}; put_workflow first")
        self._pushed(repo, "removed", file, tell=tell)

    def _pushed(self, repo: RepositoryRecord, kind: str, file: str, *, tell: bool) -> None:
        with self.lock:
            owner, hears = self.account(repo.owner_id), self._hears(repo.owner_id, repo)
        letter = payloads.about_push(repo, owner, **{kind: [f".github/workflows/{file}"]})
        self._sent(None, tell, hears, letter)

    def put_environment(
        self, repository_id: int, name: str, *, admits: Iterable[str] | None = None, reviewers: Iterable[int] = ()
    ) -> EnvironmentRecord:
        """Make an environment, or change it. Nobody is told."""
        made = EnvironmentRecord(name, None if admits is None else tuple(admits), tuple(reviewers))
        with self.lock:
            self._living_repository(repository_id)
            self._environments.setdefault(repository_id, {})[name.lower()] = made
        return made

    def put_branch(self, repository_id: int, name: str, *, protected: bool = False) -> None:
        """Make a branch, or change whether it is protected. Nobody is told."""
        with self.lock:
            self._living_repository(repository_id)
            self._branches.setdefault(repository_id, {})[name] = protected

    def put_ruleset(
        self,
        repository_id: int,
        target: str,
        *,
        include: Iterable[str],
        exclude: Iterable[str] = (),
        enforcement: str = "active",
        rules: Iterable[str] = ("creation", "update"),
    ) -> RulesetRecord:
        """Make a ruleset. Nobody is told."""
        with self.lock:
            self._living_repository(repository_id)
            there = self._rulesets.setdefault(repository_id, {})
            new_id = len(there) + 1
            made = RulesetRecord(new_id, target, tuple(include), tuple(exclude), enforcement, tuple(rules))
            there[new_id] = made
        return made

    # People.

    def add_member(
        self, org_id: int, user_id: int, *, state: MemberState = "active", role: str = "member", tell: bool = False
    ) -> MembershipRecord:
        """Also accepts an invitation: `pending`, then `active`."""
        with self.lock:
            org, user = self._living_account(org_id), self._living_account(user_id)
            if (org.kind, user.kind) != ("Organization", "User"):
                raise NotPossibleError(f"{user.login} cannot be a member of {org.login}: users join organizations")
            member = MembershipRecord(state, role)
            self._members.setdefault(org_id, {})[user_id] = member
            hears = self._hears(org_id)
        if state == "pending":
            invitation: Json = {"id": user_id, "login": user.login, "role": "direct_member"}
            webhook = payloads.about_org("member_invited", org, invitation=invitation, user=payloads.account(user))
        else:
            webhook = payloads.about_membership("member_added", member, user, org)
        return self._sent(member, tell, hears, webhook)

    def remove_member(self, org_id: int, user_id: int, *, tell: bool = False) -> None:
        with self.lock:
            org, user = self.account(org_id), self.account(user_id)
            member = self._members.get(org_id, {}).pop(user_id, None)
            if member is None:
                raise NotThereError(f"{user.login} is no member of {org.login}; add_member first")
            hears = self._hears(org_id)
        self._sent(member, tell, hears, payloads.about_membership("member_removed", member, user, org))

    def add_collaborator(
        self,
        repository_id: int,
        user_id: int,
        role_name: str = "write",
        *,
        permission: str | None = None,
        tell: bool = False,
    ) -> CollaboratorRecord:
        """Gives the role, or changes it. A custom role amounts to `permission`, or else to write."""
        with self.lock:
            repo, user = self._living_repository(repository_id), self._living_account(user_id)
            people = self._collaborators.setdefault(repository_id, {})
            former = people.get(user_id)
            access = CollaboratorRecord(role_name, permission or PERMISSIONS.get(role_name, "write"))
            people[user_id] = access
            hears = self._hears(repo.owner_id, repo)
        changes: Json = {"permission": {"to": access.permission}, "role_name": {"to": role_name}}
        if former is not None:
            changes = {"permission": {"from": former.permission, "to": access.permission}}
        action = "added" if former is None else "edited"
        webhook = payloads.about_collaborator(action, repo, self.account(repo.owner_id), user, changes)
        return self._sent(access, tell, hears, webhook)

    def remove_collaborator(self, repository_id: int, user_id: int, *, tell: bool = False) -> None:
        with self.lock:
            repo, user = self._living_repository(repository_id), self.account(user_id)
            if self._collaborators.get(repository_id, {}).pop(user_id, None) is None:
                raise NotThereError(f"{user.login} has no role of their own in {repo.name}; add_collaborator first")
            hears = self._hears(repo.owner_id, repo)
        webhook = payloads.about_collaborator("removed", repo, self.account(repo.owner_id), user, None)
        self._sent(None, tell, hears, webhook)

    # What several verbs have in common.

    def _change(
        self,
        repository_id: int,
        *,
        archived: bool | None = None,
        visibility: Visibility | None = None,
        blocked: bool | None = None,
    ) -> RepositoryRecord:
        with self.lock:
            old = self._living_repository(repository_id)
            new = replace(
                old,
                archived=old.archived if archived is None else archived,
                visibility=visibility or old.visibility,
                blocked=old.blocked if blocked is None else blocked,
            )
            self._put_repository(new)
            return new

    def _move(self, old: RepositoryRecord, new: RepositoryRecord) -> RepositoryRecord:
        self._put_repository(new)
        place = (old.owner_id, old.name.lower())
        if place != (new.owner_id, new.name.lower()):
            self._former_names[place] = new.id
        return new

    def _send_about(
        self, repo: RepositoryRecord, action: str, changes: Json | None = None, *, event: str = "repository", tell: bool
    ) -> RepositoryRecord:
        with self.lock:
            owner, hears = self.account(repo.owner_id), self._hears(repo.owner_id, repo)
        return self._sent(repo, tell, hears, payloads.about_repository(action, repo, owner, changes, event=event))
