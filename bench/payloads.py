"""Made-up policies and webhooks, of the shape and size of real ones."""

from __future__ import annotations

import hashlib
import hmac
from typing import NamedTuple

import orjson

from worker.lifecycle.facts import Micros
from worker.store.inbox import Envelope, identity
from worker.store.keys import Keyspace

PER_OWNER = 8
"""Policies that have the same GitHub owner."""
FIRST_OWNER = 900_000_000
FIRST_REPOSITORY = 7_000_000_000_000
LINKS = (
    "archive", "assignees", "blobs", "branches", "collaborators", "comments", "commits", "compare", "contents",
    "contributors", "deployments", "downloads", "events", "forks", "git_commits", "git_refs", "git_tags", "hooks",
    "issue_comment", "issue_events", "issues", "keys", "labels", "languages", "merges", "milestones", "notifications",
    "pulls", "releases", "stargazers", "statuses", "subscribers", "subscription", "tags", "teams", "trees",
)  # fmt: skip
SECRET = "bench-webhook-secret"
TOKEN = "bench-registry-token"


class Subject(NamedTuple):
    """One policy and the repository it is for."""

    number: int
    owner_id: int
    repository_id: int

    @property
    def policy_id(self) -> str:
        return f"bench-{self.number:07d}"

    @property
    def owner(self) -> str:
        return f"bench-owner-{self.owner_id - FIRST_OWNER}"

    @property
    def repository(self) -> str:
        return f"widgets-{self.number}"


def subject(number: int) -> Subject:
    return Subject(number, FIRST_OWNER + number // PER_OWNER, FIRST_REPOSITORY + number)


def creator_id(of: Subject) -> int:
    """The GitHub user who registered the policies of an owner."""
    return of.owner_id + 50_000_000


def registration(of: Subject) -> dict[str, object]:
    """The data of `policy.registered`: a public repository, so permanent at once."""
    return {
        "policy_id": of.policy_id,
        "name": f"release {of.repository}",
        "package_owner": {"account": f"packages-{of.owner_id}", "kind": "organization"},
        "created_by": {"account": f"creator-{of.owner_id}", "github_user_id": creator_id(of)},
        "github": {
            "repository_owner": of.owner,
            "repository_owner_id": of.owner_id,
            "repository": of.repository,
            "repository_id": of.repository_id,
            "visibility": "public",
            "workflow_file": "release.yml",
        },
    }


def _account(name: str, number: int, kind: str) -> dict[str, object]:
    links = ("followers", "following", "gists", "starred", "subscriptions", "organizations", "repos", "events")
    return {
        "login": name,
        "id": number,
        "node_id": f"O_{number:024d}",
        "avatar_url": f"https://avatars.invalid/u/{number}?v=4",
        **{f"{link}_url": f"https://api.invalid/users/{name}/{link}{{/privacy}}" for link in links},
        "type": kind,
        "site_admin": False,
    }


def webhook(of: Subject, *, archived: bool) -> bytes:
    """The body of `repository.archived` or `repository.unarchived`, about 7 kB."""
    full_name = f"{of.owner}/{of.repository}"
    base = f"https://api.invalid/repos/{full_name}"
    return orjson.dumps({
        "action": "archived" if archived else "unarchived",
        "repository": {
            "id": of.repository_id,
            "node_id": f"R_{of.repository_id:024d}",
            "name": of.repository,
            "full_name": full_name,
            "private": False,
            "owner": _account(of.owner, of.owner_id, "Organization"),
            "description": "Widgets of all sizes, for those who build with them, and the tools that they are made with",
            "url": base,
            **{f"{link}_url": f"{base}/{link}{{/number}}{{?since,all,participating}}" for link in LINKS},
            "created_at": "2021-03-04T05:06:07Z",
            "updated_at": "2026-01-02T03:04:05Z",
            "pushed_at": "2026-01-02T03:04:05Z",
            "size": 4711,
            "topics": ["widgets", "build", "release"],
            "archived": archived,
            "visibility": "public",
            "default_branch": "main",
            "custom_properties": {},
        },
        "organization": _account(of.owner, of.owner_id, "Organization"),
        "sender": _account(f"creator-{of.owner_id}", of.owner_id + 50_000_000, "User"),
        "installation": {"id": of.owner_id + 1, "node_id": f"I_{of.owner_id:024d}"},
    })  # fmt: skip


def signature(body: bytes) -> str:
    return "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()


def registration_letter(keyspace: Keyspace, of: Subject, at: Micros) -> Envelope:
    event_id = identity("cloudevent", "bench", of.policy_id)
    body = orjson.dumps(registration(of))
    return Envelope(
        keyspace.of(of.owner_id),
        event_id,
        "registry",
        "policy.registered",
        of.policy_id,
        body,
        occurred_at=at,
        owner=of.owner_id,
    )


def webhook_letter(keyspace: Keyspace, of: Subject, delivery: str, *, archived: bool) -> Envelope:
    body = webhook(of, archived=archived)
    name = "repository.archived" if archived else "repository.unarchived"
    return Envelope(
        keyspace.of(of.owner_id),
        identity("github", "repository", delivery, body),
        "github",
        name,
        delivery,
        body,
        owner=of.owner_id,
    )


def cloud_event(of: Subject, time: str) -> bytes:
    return orjson.dumps({
        "specversion": "1.0", "id": of.policy_id, "source": "bench", "type": "policy.registered", "time": time,
        "data": registration(of),
    })  # fmt: skip
