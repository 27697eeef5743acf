"""What the registry, the token exchange and operators tell: CloudEvents, whose `time` dates them."""

from __future__ import annotations

from collections.abc import Mapping

from handlers.base import Handled, Handler, Incoming, parse, word
from handlers.models import (
    AccountNamed,
    LoginRefused,
    LoginSucceeded,
    PackageOwnerMember,
    PolicyNamed,
    PolicyRegistered,
    RegistrationRefused,
)
from worker.lifecycle import logins, scopes
from worker.lifecycle.conditions import RegisteredConditions
from worker.lifecycle.owners import DEFAULT
from worker.lifecycle.registration import Registration, encode
from worker.lifecycle.shapes import shape_of
from worker.lifecycle.tenure import login_value

LONGEST_ACTOR = 200
"""Characters that are kept of who began a run; GitHub's logins are shorter."""


SELF_HOSTED = "self-hosted"
"""What the claim `runner_environment` is of a machine that is not GitHub's."""
OF_PACKAGES = frozenset({"packages", "actions"})
"""What a policy asks that is the registry's business, and not GitHub's."""


def registration_of(data: PolicyRegistered) -> Registration:
    github = data.github
    return Registration(
        name=data.name,
        package_owner=data.package_owner.account,
        package_owner_kind=data.package_owner.kind,
        creator=data.created_by.account,
        creator_github_id=data.created_by.github_user_id,
        repository_owner=github.repository_owner,
        repository_owner_id=github.repository_owner_id,
        repository=github.repository,
        repository_id=github.repository_id,
        visibility=github.visibility,
        workflow_file=github.workflow_file,
        environment=github.environment,
        asked=RegisteredConditions(
            refs=github.refs or (),
            ref_protected=github.ref_protected or False,
            workflow_binds=github.workflow_binds,
            called_workflow=github.called_workflow,
            runner=None if github.runner == "any" else github.runner,
            events=github.events or (),
            packages=data.packages or (),
            actions=data.actions or (),
            issuer=None if github.issuer == DEFAULT else github.issuer,
        ),
    )


ANY_ID = 0
"""What a registration is looked at with in place of an owner's id that it leaves out."""


def leaves_out_owner(data: Mapping[str, object]) -> bool:
    """Whether the data of `policy.registered` does not say the GitHub owner's id, and could."""
    github = data.get("github")
    return isinstance(github, Mapping) and github.get("repository_owner_id") is None


def issuer_told(data: Mapping[str, object]) -> str:
    """The alias of the instance of GitHub that a registration names; what is none counts as the default one."""
    github = data.get("github")
    issuer = github.get("issuer") if isinstance(github, Mapping) else None
    return issuer if isinstance(issuer, str) else DEFAULT


def with_owner(data: Mapping[str, object], owner_id: int) -> dict[str, object]:
    """The same data with the owner's id."""
    github = data["github"]
    assert isinstance(github, Mapping)
    return {**data, "github": {**github, "repository_owner_id": owner_id}}


def data_of(registration: Registration, policy_id: str) -> dict[str, object]:
    """The data of `policy.registered` that says this: the reverse of `registration_of`."""
    asked = {name: value for name, value in registration.asked._asdict().items() if value}
    return {
        "policy_id": policy_id,
        "name": registration.name,
        "package_owner": {"account": registration.package_owner, "kind": registration.package_owner_kind},
        "created_by": {"account": registration.creator, "github_user_id": registration.creator_github_id},
        "github": {
            "repository_owner": registration.repository_owner,
            "repository_owner_id": registration.repository_owner_id,
            "repository": registration.repository,
            "repository_id": registration.repository_id,
            "visibility": registration.visibility,
            "workflow_file": registration.workflow_file,
            "environment": registration.environment,
            **{name: value for name, value in asked.items() if name not in OF_PACKAGES},
        },
        **{name: value for name, value in asked.items() if name in OF_PACKAGES},
    }


def registered(incoming: Incoming) -> Handled:
    """`policy.registered` and `policy.updated`: the same, since a known id counts as an update."""
    data = parse(PolicyRegistered, incoming)
    observation = word(incoming, scopes.policy(data.policy_id), "registration", encode(registration_of(data)))
    owner, github = data.github.owner, data.github
    if github.repository_id is None:
        return Handled((observation,), (scopes.unbound(owner, github.repository),))
    return Handled((observation,), (scopes.repository(owner, github.repository_id),))


def registration_refused(incoming: Incoming) -> Handled:
    """Nothing is learnt of it; the feed says so when it is settled."""
    parse(RegistrationRefused, incoming)
    return Handled()


def renewed(incoming: Incoming) -> Handled:
    return _observed(incoming, "renewal", True)


def removed(incoming: Incoming) -> Handled:
    """Final: there is no event that takes it back."""
    return _observed(incoming, "removed", True)


def held(*, held: bool) -> Handler:
    """An operator's hold and its release."""
    return lambda incoming: _observed(incoming, "held", held)


def _observed(incoming: Incoming, aspect: str, value: bool) -> Handled:  # noqa: FBT001 - private, three callers above
    data = parse(PolicyNamed, incoming)
    return Handled((word(incoming, scopes.policy(data.policy_id), aspect, value),))


def login_succeeded(incoming: Incoming) -> Handled:
    data = parse(LoginSucceeded, incoming)
    value = login_value(data.repository_id, data.owner)
    shape = shape_of(
        ref=data.ref, environment=data.environment, caller=data.caller, called=data.called, runner=data.runner
    )
    actor = data.actor and data.actor[:LONGEST_ACTOR]
    said = {"id": incoming.source.id, **_known(run_id=data.run_id, actor=actor, ref=data.ref)}
    counted = logins.succeeded(data.policy_id, incoming.at, said, shape)
    learnt = [word(incoming, scopes.policy(data.policy_id), "login", value)]
    if data.runner == SELF_HOSTED:
        # That another ran elsewhere takes nothing back: runs of one matrix would tell it to and fro.
        learnt.append(word(incoming, scopes.policy(data.policy_id), "self_hosted", True))
    return Handled(tuple(learnt), login=counted)


def login_refused(incoming: Incoming) -> Handled:
    """It is counted, and nothing is learnt of it: a policy stands where it stood."""
    data = parse(LoginRefused, incoming)
    said = {"id": incoming.source.id, **_known(ref=data.ref, run_id=data.run_id, actor=data.actor)}
    return Handled(login=logins.refused(data.policy_id, incoming.at, data.code, said))


def _known(**said: str | int | None) -> dict[str, object]:
    return {name: value for name, value in said.items() if value is not None}


def account(aspect: str, value: bool) -> Handler:  # noqa: FBT001 - reads as `account("locked", True)` in the table
    """`account.locked` and its like."""

    def handle(incoming: Incoming) -> Handled:
        data = parse(AccountNamed, incoming)
        return Handled((word(incoming, scopes.account(data.account), aspect, value),))

    return handle


def package_member(*, left: bool) -> Handler:
    def handle(incoming: Incoming) -> Handled:
        data = parse(PackageOwnerMember, incoming)
        scope = scopes.package_member(data.package_owner, data.account)
        return Handled((word(incoming, scope, "left", left),))

    return handle
