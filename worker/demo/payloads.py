"""Webhooks in the shape in which GitHub sends them, of people and places that do not exist."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

Json: TypeAlias = dict[str, object]


class Org(NamedTuple):
    id: int
    login: str


class User(NamedTuple):
    id: int
    login: str


class Repo(NamedTuple):
    id: int
    name: str
    owner: Org
    private: bool = True


def account(who: Org | User) -> Json:
    kind = "Organization" if isinstance(who, Org) else "User"
    return {"login": who.login, "id": who.id, "node_id": f"N_{who.id}", "type": kind, "site_admin": False}


def repository(repo: Repo) -> Json:
    return {
        "id": repo.id,
        "node_id": f"R_{repo.id}",
        "name": repo.name,
        "full_name": f"{repo.owner.login}/{repo.name}",
        "private": repo.private,
        "owner": account(repo.owner),
        "description": None,
        "fork": False,
        "archived": False,
        "disabled": False,
        "visibility": "private" if repo.private else "public",
        "default_branch": "main",
        "topics": [],
    }


def about_repository(action: str, repo: Repo, sender: User, changes: Json | None = None) -> Json:
    body: Json = {
        "action": action,
        "repository": repository(repo),
        "organization": account(repo.owner),
        "sender": account(sender),
        "installation": {"id": 7001, "node_id": "I_7001"},
    }
    return body if changes is None else {**body, "changes": changes}


def about_member(action: str, org: Org, member: User, sender: User) -> Json:
    return {
        "action": action,
        "membership": {"state": "active", "role": "member", "user": account(member)},
        "organization": account(org),
        "sender": account(sender),
    }


def renamed_from(name: str) -> Json:
    return {"repository": {"name": {"from": name}}}


def transferred_from(org: Org) -> Json:
    return {"owner": {"from": {"organization": account(org)}}}


def registration(policy_id: str, repo: Repo, creator: User, *, environment: str | None = None) -> Json:
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
