"""What tests of the lifecycle and of the handlers share: observations, a policy to tell them to, and webhook bodies.

Times in tests of the lifecycle are small integers, so that ties and races happen: a window is 10 long.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from handlers.base import EXCHANGE, GITHUB, OPERATOR, REGISTRY, Incoming
from worker.lifecycle import scopes
from worker.lifecycle.conditions import NOTHING, RegisteredConditions
from worker.lifecycle.facts import Basis, Micros, Observation, ObservationSource, Value
from worker.lifecycle.policy import Policy, Step, advance, learn
from worker.lifecycle.registration import Registration, encode
from worker.lifecycle.rules import Rules
from worker.lifecycle.tenure import login_value
from worker.lifecycle.views import ChangeType, View

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For a client of plain HTTP: to read the certificates that are trusted takes 40 ms of a processor for each client."""

MAX_ID = 2**63 - 1

POLICY = "pol-1"
OWNER = 41
USER = 5
REPOSITORY = 7
NAME = "widgets"
WORKFLOW = "release.yml"
CREATOR = "maria"
PACKAGE_OWNER = "acme"

WINDOW: Micros = 10
REMINDER: Micros = 3
RULES = Rules(window=WINDOW, reminder=REMINDER, proof_max_age=12, replica_lag=0)
WITH_PROOF = Rules(window=WINDOW, reminder=REMINDER, proof_max_age=12, replica_lag=0, proof_required=True)
LAGGING = Rules(window=WINDOW, reminder=REMINDER, proof_max_age=12, replica_lag=3, proof_required=True)

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"


# Observations


def registered(
    at: Micros,
    name: str = NAME,
    repository_id: int | None = None,
    *,
    owner: int = OWNER,
    visibility: str | None = None,
    policy_id: str = POLICY,
    user: int | None = USER,
    label: str = "publish",
    environment: str | None = None,
    asked: RegisteredConditions = NOTHING,
) -> Observation:
    """A registration or an update of it; the two are the same."""
    registration = Registration(
        name=label,
        package_owner=PACKAGE_OWNER,
        package_owner_kind="organization",
        creator=CREATOR,
        creator_github_id=user,
        repository_owner="octo",
        repository_owner_id=owner,
        repository=name,
        repository_id=repository_id,
        visibility=visibility,
        workflow_file=WORKFLOW,
        environment=environment,
        asked=asked,
    )
    text = encode(registration)
    # An event's id stands for all that it says.
    source = ObservationSource(REGISTRY, f"{at}-{text}", "policy.registered")
    return Observation(scopes.policy(policy_id), "registration", text, at, Basis.PROOF, source)


def said(at: Micros, scope: str, aspect: str, value: Value, *, kind: str = REGISTRY) -> Observation:
    """The word of whoever decides the matter."""
    return Observation(scope, aspect, value, at, Basis.PROOF, ObservationSource(kind, f"said-{at}", aspect))


def renewed(at: Micros) -> Observation:
    return said(at, scopes.policy(POLICY), "renewal", True)


def removed(at: Micros) -> Observation:
    return said(at, scopes.policy(POLICY), "removed", True)


def held(at: Micros, value: bool = True) -> Observation:
    return said(at, scopes.policy(POLICY), "held", value, kind=OPERATOR)


def login(at: Micros, repository_id: int = REPOSITORY, owner: int = OWNER) -> Observation:
    return said(at, scopes.policy(POLICY), "login", login_value(repository_id, owner), kind=EXCHANGE)


def hint(at: Micros, scope: str, aspect: str, value: Value) -> Observation:
    """A signed webhook said so."""
    return Observation(scope, aspect, value, at, Basis.HINT, ObservationSource(GITHUB, f"hint-{at}", aspect))


def proof(at: Micros, scope: str, aspect: str, value: Value) -> Observation:
    """GitHub's API said so."""
    return Observation(scope, aspect, value, at, Basis.PROOF, ObservationSource(GITHUB, f"proof-{at}", aspect))


def repository_scope(repository_id: int = REPOSITORY, owner: int = OWNER) -> str:
    return scopes.repository(owner, repository_id)


# A policy to tell them to


@dataclass(slots=True)
class Life:
    """A policy, and everything that was published of it."""

    rules: Rules = RULES
    policy: Policy = field(default_factory=lambda: Policy(POLICY, {}))
    changes: list[ChangeType] = field(default_factory=list)
    step: Step | None = None

    def hears(self, now: Micros, *observations: Observation) -> ChangeType | None:
        """Learn, then move on at `now`; what was published of it, if anything."""
        before = self.policy
        self.policy = learn(before, observations, self.rules)
        step = advance(self.policy, now, self.rules, learnt=self.policy is not before)
        if step is None:
            return None
        self.policy, self.step = step.policy, step
        if step.change is not None:
            self.changes.append(step.change)
        return step.change

    @property
    def view(self) -> View:
        assert self.policy.view is not None
        return self.policy.view

    @property
    def due(self) -> Micros | None:
        assert self.step is not None
        return self.step.due


def knowing(observations: Iterable[Observation], rules: Rules = RULES) -> Policy:
    """A policy that learnt all of this at once."""
    return learn(Policy(POLICY, {}), observations, rules)


# Bodies of webhooks and events, as GitHub, a registry and an exchange would send them


def account(account_id: JSON = OWNER, login_name: str = "octo", kind: str = "Organization") -> dict[str, JSON]:
    return {
        "login": login_name,
        "id": account_id,
        "node_id": "O_kwDOAAAA",
        "type": kind,
        "site_admin": False,
        "gravatar_id": "",
    }


def repository(repository_id: JSON = REPOSITORY, name: str = NAME, **fields: JSON) -> dict[str, JSON]:
    return {
        "id": repository_id,
        "name": name,
        "full_name": f"octo/{name}",
        "private": True,
        "visibility": "private",
        "owner": account(),
        "default_branch": "main",
        "fork": False,
        "license": None,
        **fields,
    }


def person(user_id: JSON = USER, login_name: str = "maria-gh") -> dict[str, JSON]:
    return account(user_id, login_name, "User")


def installation(**fields: JSON) -> dict[str, JSON]:
    return {"id": 900, "account": account(), "app_id": 12, "repository_selection": "selected", **fields}


def incoming(name: str, body: object, *, kind: str = GITHUB, at: Micros = 77) -> Incoming:
    """An event as the inbox hands it over; `body` may be bytes that are no JSON at all."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Incoming(ObservationSource(kind, "d-1", name), at, raw)


def registration_data(**github: JSON) -> dict[str, JSON]:
    """The data of `policy.registered`, with these fields of `github` put in place of the usual ones."""
    return {
        "policy_id": POLICY,
        "name": "publish",
        "package_owner": {"account": PACKAGE_OWNER, "kind": "organization"},
        "created_by": {"account": CREATOR, "github_user_id": USER},
        "github": {
            "repository_owner": "octo",
            "repository_owner_id": OWNER,
            "repository": NAME,
            "repository_id": REPOSITORY,
            "visibility": "private",
            "workflow_file": WORKFLOW,
            "environment": None,
            **github,
        },
    }


def without(body: Mapping[str, JSON], *names: str) -> dict[str, JSON]:
    return {name: value for name, value in body.items() if name not in names}
