"""Accounts, repositories and installations as GitHub writes them, in its REST API and in its webhooks alike."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import NamedTuple, TypeAlias

from worker.demo.fakegithub.records import (
    AccountRecord,
    DeliveryRecord,
    EnvironmentRecord,
    InstallationRecord,
    MembershipRecord,
    RepositoryRecord,
    RulesetRecord,
)

Json: TypeAlias = dict[str, object]


class WebhookPayload(NamedTuple):
    """A webhook, before it is signed and sent."""

    event: str
    payload: Json
    repository_id: int | None = None


def encode(body: object) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


def moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def account(who: AccountRecord) -> Json:
    return {
        "login": who.login,
        "id": who.id,
        "node_id": f"{who.kind[0]}_{who.id}",
        "type": who.kind,
        "site_admin": False,
        "html_url": f"https://github.example/{who.login}",
    }


def repository(repo: RepositoryRecord, owner: AccountRecord) -> Json:
    return {
        "id": repo.id,
        "node_id": f"R_{repo.id}",
        "name": repo.name,
        "full_name": f"{owner.login}/{repo.name}",
        "private": repo.visibility != "public",
        "owner": account(owner),
        "html_url": f"https://github.example/{owner.login}/{repo.name}",
        "description": None,
        "fork": False,
        "archived": repo.archived,
        "disabled": False,
        "visibility": repo.visibility,
        "default_branch": "main",
        "topics": [],
    }


def file(name: str, held: bytes) -> Json:
    return {
        "type": "file",
        "encoding": "base64",
        "size": len(held),
        "name": name,
        "path": f".github/workflows/{name}",
        "content": base64.encodebytes(held).decode(),
    }


def environment(item: EnvironmentRecord) -> Json:
    rules: list[Json] = []
    if item.reviewers:
        people = [{"type": "User", "reviewer": {"id": each}} for each in item.reviewers]
        rules.append({"id": 1, "type": "required_reviewers", "reviewers": people})
    policy: Json | None = None
    if item.admits is not None:
        rules.append({"id": 2, "type": "branch_policy"})
        policy = {"protected_branches": not item.admits, "custom_branch_policies": bool(item.admits)}
    return {"id": 1, "name": item.name, "protection_rules": rules, "deployment_branch_policy": policy}


def branch(name: str, *, protected: bool) -> Json:
    return {"name": name, "commit": {"sha": "0" * 40}, "protected": protected}


def listed_ruleset(item: RulesetRecord) -> Json:
    """As a list has it: without what it is about."""
    return {"id": item.id, "name": f"ruleset {item.id}", "target": item.target, "enforcement": item.enforcement}


def ruleset(item: RulesetRecord) -> Json:
    return {
        **listed_ruleset(item),
        "conditions": {"ref_name": {"include": list(item.include), "exclude": list(item.exclude)}},
        "rules": [{"type": rule} for rule in item.rules],
    }


def short_repository(repo: RepositoryRecord, owner: AccountRecord) -> Json:
    whole = repository(repo, owner)
    return {field: whole[field] for field in ("id", "node_id", "name", "full_name", "private")}


def installation(item: InstallationRecord, holder: AccountRecord, app_id: int) -> Json:
    return {
        "id": item.id,
        "app_id": app_id,
        "account": account(holder),
        "target_id": holder.id,
        "target_type": holder.kind,
        "repository_selection": selection(item),
        "permissions": permissions(item),
        "events": ["repository", "organization", "member", "public"],
        "suspended_at": None if item.suspended_at is None else moment(item.suspended_at),
        "suspended_by": None,
    }


def selection(item: InstallationRecord) -> str:
    return "all" if item.selection is None else "selected"


def permissions(item: InstallationRecord) -> Json:
    members = {"members"} if item.members_permission else set()
    return dict.fromkeys(sorted({"metadata", *members, *item.permissions}), "read")


def membership(member: MembershipRecord, user: AccountRecord, org: AccountRecord) -> Json:
    return {"state": member.state, "role": member.role, "user": account(user), "organization": account(org)}


def delivery(item: DeliveryRecord) -> Json:
    good = 200 <= item.status_code < 400
    return {
        "id": item.id,
        "guid": item.guid,
        "delivered_at": moment(item.delivered_at),
        "redelivery": item.redelivery,
        "duration": 0.1,
        "status": "OK" if good else f"Invalid HTTP Response: {item.status_code}",
        "status_code": item.status_code,
        "event": item.event,
        "action": item.action,
        "installation_id": item.installation_id,
        "repository_id": item.repository_id,
        "throttled_at": None,
    }


# Webhooks. `sender` is added when they are sent, and `installation` where they do not have one.


def about_repository(
    action: str, repo: RepositoryRecord, owner: AccountRecord, changes: Json | None = None, *, event: str = "repository"
) -> WebhookPayload:
    """`action` may be empty: `public` has none."""
    body: Json = {"action": action} if action else {}
    body["repository"] = repository(repo, owner)
    if owner.kind == "Organization":
        body["organization"] = account(owner)
    if changes is not None:
        body["changes"] = changes
    return WebhookPayload(event, body, repo.id)


def about_push(repo: RepositoryRecord, owner: AccountRecord, **touched: list[str]) -> WebhookPayload:
    """To the default branch, of one commit; `touched`: `added`, `modified` or `removed` paths."""
    letter = about_repository("", repo, owner, event="push")
    commit: Json = {"added": [], "modified": [], "removed": [], **touched}
    return letter._replace(
        payload={**letter.payload, "ref": "refs/heads/main", "commits": [commit], "head_commit": commit}
    )


def about_collaborator(
    action: str, repo: RepositoryRecord, owner: AccountRecord, member: AccountRecord, changes: Json | None
) -> WebhookPayload:
    webhook = about_repository(action, repo, owner, changes, event="member")
    return webhook._replace(payload={**webhook.payload, "member": account(member)})


def about_org(action: str, org: AccountRecord, **fields: object) -> WebhookPayload:
    return WebhookPayload("organization", {"action": action, "organization": account(org), **fields})


def about_membership(action: str, member: MembershipRecord, user: AccountRecord, org: AccountRecord) -> WebhookPayload:
    return about_org(action, org, membership={"state": member.state, "role": member.role, "user": account(user)})


def about_installation(action: str, item: Json, repositories: list[Json]) -> WebhookPayload:
    return WebhookPayload(
        "installation", {"action": action, "installation": item, "repositories": repositories, "requester": None}
    )


def about_reach(action: str, item: Json, repo: Json) -> WebhookPayload:
    """`installation_repositories.added` or `removed`."""
    lists: Json = {"repositories_added": [], "repositories_removed": []}
    return WebhookPayload(
        "installation_repositories",
        {
            "action": action,
            "installation": item,
            "repository_selection": item["repository_selection"],
            **lists,
            f"repositories_{action}": [repo],
            "requester": None,
        },
    )


def about_target(holder: AccountRecord, old_login: str) -> WebhookPayload:
    """`installation_target.renamed`."""
    return WebhookPayload(
        "installation_target",
        {
            "action": "renamed",
            "account": account(holder),
            "changes": {"login": {"from": old_login}},
            "target_type": holder.kind,
        },
    )
