"""Webhooks in the shape in which GitHub sends them, of people and places that do not exist."""

from __future__ import annotations

from typing import NamedTuple

from worker.demo.fakegithub.payloads import Json, account
from worker.demo.fakegithub.payloads import repository as whole_repository
from worker.demo.fakegithub.records import AccountRecord, RepositoryRecord


class Repo(NamedTuple):
    id: int
    name: str
    owner: AccountRecord
    private: bool = True


def organization(account_id: int, login_name: str) -> AccountRecord:
    return AccountRecord(account_id, login_name, "Organization")


def person(account_id: int, login_name: str) -> AccountRecord:
    return AccountRecord(account_id, login_name, "User")


def repository(repo: Repo) -> Json:
    record = RepositoryRecord(repo.id, repo.name, repo.owner.id, "private" if repo.private else "public")
    return whole_repository(record, repo.owner)


def about_repository(action: str, repo: Repo, sender: AccountRecord, changes: Json | None = None) -> Json:
    body: Json = {
        "action": action,
        "repository": repository(repo),
        "organization": account(repo.owner),
        "sender": account(sender),
        "installation": {"id": 7001, "node_id": "I_7001"},
    }
    return body if changes is None else {**body, "changes": changes}


def about_member(action: str, org: AccountRecord, member: AccountRecord, sender: AccountRecord) -> Json:
    return {
        "action": action,
        "membership": {"state": "active", "role": "member", "user": account(member)},
        "organization": account(org),
        "sender": account(sender),
    }


def renamed_from(name: str) -> Json:
    return {"repository": {"name": {"from": name}}}


def transferred_from(org: AccountRecord) -> Json:
    return {"owner": {"from": {"organization": account(org)}}}


def registration(policy_id: str, repo: Repo, creator: AccountRecord, *, environment: str | None = None) -> Json:
    """The `data` of `policy.registered`."""
    return {
        "policy_id": policy_id,
        "name": f"{repo.name} releases",
        "package_owner": {"account": "analytical", "kind": "organization"},
        "created_by": {"account": creator.login, "github_user_id": creator.id},
        "github": {
            "repository_owner": repo.owner.login,
            "repository_owner_id": repo.owner.id,
            "repository": repo.name,
            "repository_id": repo.id,
            "visibility": "private" if repo.private else "public",
            "workflow_file": "release.yml",
            "environment": environment,
        },
    }


def login(policy_id: str, repo: Repo, run_id: int) -> Json:
    """The `data` of `login.succeeded`."""
    return {
        "policy_id": policy_id,
        "repository_id": repo.id,
        "repository_owner_id": repo.owner.id,
        "jti": f"run-{run_id}",
        "run_id": run_id,
        "actor": "ada",
    }
