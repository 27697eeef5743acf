"""What a policy could ask for beside what it asks for now, so that all of its logins lately would have passed."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from handlers.models import PolicyRegistered
from handlers.registry import data_of
from worker.lifecycle import scopes
from worker.lifecycle.decide import Standing, State
from worker.lifecycle.facts import DAY, Micros, series
from worker.lifecycle.logins import NAMES, LoginOutcome
from worker.lifecycle.policy import Policy
from worker.lifecycle.registration import Registration
from worker.lifecycle.shapes import LOOKED_AT, propose, read
from worker.lifecycle.views import View
from worker.store.logins import PolicyLogins

DAYS = LOOKED_AT // DAY


@dataclass(frozen=True, slots=True)
class Narrowing:
    """What can be proposed, or why nothing can."""

    logins: int
    """So many were looked at."""
    members: Mapping[str, object]
    """What it would ask for: members of `data.github`. Empty: nothing is proposed."""
    data: Mapping[str, object] | None
    """The data of `policy.updated` that asks for it."""
    untold: tuple[str, ...]
    """What the exchange does not tell of every login."""
    why_not: str | None = None
    """Where logins are not known well enough."""

    @property
    def command(self) -> str:
        """For a shell."""
        return f"printf %s {shlex.quote(json.dumps(self.data))} | tenure policy register --from -"

    @property
    def asks(self) -> str:
        """`refs refs/tags/v*, runner github-hosted`"""
        said = ((name, value if isinstance(value, list) else [value]) for name, value in self.members.items())
        return ", ".join(f"{name} {' '.join(map(str, values))}" for name, values in said)

    @property
    def sentence(self) -> str:
        if self.members:
            return f"All logins of the last {DAYS} days ({self.logins}) would also pass if it asked for {self.asks}."
        if self.why_not is not None:
            return f"Nothing narrower is proposed: {self.why_not}."
        lacks = f" The exchange does not tell {', '.join(self.untold)} of every login." if self.untold else ""
        return f"Its logins of the last {DAYS} days ({self.logins}) share nothing that it could ask for beside what it does.{lacks}"

    def as_json(self) -> dict[str, object]:
        return {
            "logins": self.logins,
            "members": dict(self.members),
            "data": None if self.data is None else dict(self.data),
            "untold": list(self.untold),
            "why_not": self.why_not,
        }


def narrowing_of(policy: Policy, view: View, standing: Standing, logins: PolicyLogins, now: Micros) -> Narrowing | None:
    """What is proposed of a policy; None where there were no logins to learn of, or it was removed."""
    since = max(now - LOOKED_AT, standing.tenure.since)
    known = logins.succeeded
    if known is None or known.every.last_at < since or standing.state is State.REMOVED:
        return None
    lately = [count for count in known.named.values() if count.last_at >= since]
    number = sum(count.times for count in lately)
    told = series(policy.facts, scopes.policy(policy.policy_id), "login")
    if not lately or any(since <= login.at < known.every.first_at for login in told):
        return Narrowing(number, {}, None, (), "some logins are from before Tenure kept what they were like")
    if len(lately) == NAMES[LoginOutcome.SUCCEEDED]:
        return Narrowing(number, {}, None, (), "its logins differ too much to be kept apart")
    registration = standing.tenure.registration._replace(
        repository_owner=view["repository_owner"], repository=view["repository"], repository_id=view["repository_id"]
    )
    found = propose(registration, [read(count.last) for count in lately])
    members, data = _members(registration, found.registration), data_of(found.registration, policy.policy_id)
    try:
        PolicyRegistered.model_validate(data)
    except ValidationError:
        return Narrowing(number, {}, None, found.untold, "what its logins share is nothing that a policy may ask for")
    return Narrowing(number, members, data if members else None, found.untold)


def _members(before: Registration, after: Registration) -> dict[str, object]:
    """What differs, as `policy.registered` names it."""
    pairs = {
        "workflow_file": (before.workflow_file, after.workflow_file),
        "environment": (before.environment, after.environment),
        **{name: (getattr(before.asked, name), value) for name, value in after.asked._asdict().items()},
    }
    return {name: list(new) if isinstance(new, tuple) else new for name, (old, new) in pairs.items() if old != new}
