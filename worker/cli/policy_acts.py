"""`tenure policy register|hold|release|renew|remove`: an operator's events, which go through the inbox like any other."""

from __future__ import annotations

import codecs
import getpass
import os
import socket
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, TypeVar

import orjson
import typer
from pydantic import BaseModel, ValidationError

from handlers.base import bad_fields
from handlers.models import PolicyRegistered
from handlers.registry import ANY_ID, issuer_told, leaves_out_owner, with_owner
from worker.app import App
from worker.cli import output
from worker.cli.session import AsJson, Exit, PolicyId, ended, opened, registered_policy, stated
from worker.github.answers import GitHubError
from worker.lifecycle.owners import OwnerRef, id_of, issuer_of
from worker.lifecycle.policy import owner_called
from worker.operators.policies import ActionRefusal, ActionRefusedError, OperatorAction, perform
from worker.operators.submit import Submission, submit
from worker.verify.owners import NoInstallationError, OwnerIds

ModelT = TypeVar("ModelT", bound=BaseModel)

Reason = Annotated[str, typer.Option(help="Why: goes into the audit trail.", show_default=False)]

OPTIONS = {
    "policy_id": "--id",
    "name": "--name",
    "package_owner.account": "--package-owner",
    "package_owner.kind": "--package-owner-kind",
    "created_by.account": "--created-by",
    "created_by.github_user_id": "--creator-github-id",
    "github.issuer": "--issuer",
    "github.repository_owner": "--owner",
    "github.repository_owner_id": "--owner-id",
    "github.repository": "--repository",
    "github.repository_id": "--repository-id",
    "github.visibility": "--visibility",
    "github.workflow_file": "--workflow",
    "github.environment": "--environment",
    "github.refs": "--ref",
    "github.ref_protected": "--ref-protected",
    "github.workflow_binds": "--workflow-binds",
    "github.called_workflow": "--called-workflow",
    "github.runner": "--runner",
    "github.events": "--event",
    "packages": "--package",
    "actions": "--action",
}
"""Field of `policy.registered` → the option that gives it."""


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command("register")(register_policy)
    for command in (hold, release, renew, remove):
        app.command()(command)


def register_policy(
    ctx: typer.Context,
    *,
    policy_id: Annotated[str | None, typer.Option("--id", help="The policy's id, as the registry knows it.")] = None,
    name: Annotated[str | None, typer.Option(help="What its owner calls it.")] = None,
    package_owner: Annotated[str | None, typer.Option(help="The registry's account that owns the packages.")] = None,
    package_owner_kind: Annotated[str | None, typer.Option(help="user or organization.")] = None,
    created_by: Annotated[str | None, typer.Option(help="The registry's account that made the policy.")] = None,
    creator_github_id: Annotated[str | None, typer.Option(help="That person's GitHub user id, if known.")] = None,
    issuer: Annotated[
        str | None, typer.Option(help="Alias of its instance of GitHub, if it is not the default one.")
    ] = None,
    owner: Annotated[str | None, typer.Option(help="Login of the GitHub owner.")] = None,
    owner_id: Annotated[str | None, typer.Option(help="Id of the GitHub owner.")] = None,
    repository: Annotated[str | None, typer.Option(help="GitHub repository: name, owner/name or URL.")] = None,
    repository_id: Annotated[str | None, typer.Option(help="Its id; if unknown, the first login tells it.")] = None,
    visibility: Annotated[str | None, typer.Option(help="public, private or internal, if known.")] = None,
    workflow: Annotated[str | None, typer.Option(help="Workflow file, such as release.yml.")] = None,
    environment: Annotated[str | None, typer.Option(help="GitHub environment, if the policy asks for one.")] = None,
    ref: Annotated[
        list[str] | None, typer.Option(help="Pattern of the refs that a run may be for, such as refs/tags/v*.")
    ] = None,
    ref_protected: Annotated[bool, typer.Option("--ref-protected", help="Only protected branches and tags.")] = False,
    workflow_binds: Annotated[
        str | None, typer.Option(help="Which workflow that is: the job's, or its caller.")
    ] = None,
    called_workflow: Annotated[
        str | None, typer.Option(help="owner/name/.github/workflows/file.yml[@refs] that it may call, or * for any.")
    ] = None,
    runner: Annotated[str | None, typer.Option(help="github-hosted or self-hosted, if not any.")] = None,
    event: Annotated[list[str] | None, typer.Option(help="Event that may start a run.")] = None,
    package: Annotated[list[str] | None, typer.Option(help="Pattern of the packages, such as acme.*.")] = None,
    action: Annotated[list[str] | None, typer.Option(help="What may be done, in the registry's words.")] = None,
    source: Annotated[
        str | None, typer.Option("--from", metavar="FILE|-", help="Read the data of policy.registered, as JSON.")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Why: goes into the audit trail.")] = None,
    as_json: AsJson = False,
) -> None:
    """Register a policy, or update the one that has this id.

    Another repository or GitHub owner than before starts a new window. A removed id stays removed. What is not given is not asked:
    an update says the whole. --ref, --event, --package and --action can be given several times.
    """
    values = (
        policy_id, name, package_owner, package_owner_kind, created_by, creator_github_id, issuer, owner, owner_id,
        repository, repository_id, visibility, workflow, environment, ref, ref_protected, workflow_binds, called_workflow,
        runner, event, package, action,
    )  # fmt: skip
    options = {field: value for field, value in zip(OPTIONS, values, strict=True) if value not in (None, False, [])}
    if source is not None and options:
        raise typer.BadParameter("gives all fields; leave the other options out", param_hint="--from")
    written = _nested(options) if source is None else _read(source)
    names = OPTIONS if source is None else {}
    data = _validated(PolicyRegistered, _with_owner(ctx, written, names), names)
    app = opened(ctx)
    if issuer_of(data.github.owner) not in app.settings.aliases:
        field = OPTIONS["github.issuer"] if source is None else "github.issuer"
        raise ended(
            Exit.USAGE,
            f"{field}: no such instance of GitHub is configured; there is {', '.join(app.settings.aliases)}",
        )
    former = app.policies.load([data.policy_id])[data.policy_id].policy
    if former is not None and former.view is not None and former.view["state"] == "removed":
        raise ended(Exit.FAILED, f"{data.policy_id} was removed, and a removed id stays so; register under another id")
    done = "registered" if former is None else "updated"
    details = data.model_dump() | ({} if reason is None else {"reason": reason})
    _submit(app, "policy.registered", details, data.policy_id, data.github.owner)
    _report(app, data.policy_id, done, as_json=as_json)


def hold(ctx: typer.Context, policy_id: PolicyId, *, reason: Reason, as_json: AsJson = False) -> None:
    """Hold a policy: at once it may not publish, until it is released."""
    _act(ctx, OperatorAction.HOLD, policy_id, reason, "held", as_json=as_json)


def release(ctx: typer.Context, policy_id: PolicyId, *, reason: Reason, as_json: AsJson = False) -> None:
    """End an operator's hold. Other reasons that block go on blocking."""
    _act(ctx, OperatorAction.RELEASE, policy_id, reason, "released", as_json=as_json)


def renew(ctx: typer.Context, policy_id: PolicyId, *, reason: Reason, as_json: AsJson = False) -> None:
    """Give a policy that has not proven itself a new window, also after it has expired."""
    _act(ctx, OperatorAction.RENEW, policy_id, reason, "renewed", as_json=as_json)


def remove(
    ctx: typer.Context,
    policy_id: PolicyId,
    *,
    reason: Reason,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask. Needed where there is no terminal.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove a policy, for good: its id can never be used again."""
    if not yes:
        if not sys.stdin.isatty():
            raise typer.BadParameter(
                "removing is final; without a terminal to ask on, it must be given", param_hint="--yes"
            )
        typer.confirm(f"Remove {output.clean(policy_id)} for good?", abort=True, err=True)
    _act(ctx, OperatorAction.REMOVE, policy_id, reason, "removed", as_json=as_json)


def _act(ctx: typer.Context, act: OperatorAction, policy_id: str, reason: str, done: str, *, as_json: bool) -> None:
    why = stated(reason)
    app = opened(ctx)
    try:
        perform(app, act, policy_id, reason=why, by=operator(), request_id=str(uuid.uuid4()))
    except ActionRefusedError as error:
        raise refused(error) from None
    _report(app, policy_id, done, as_json=as_json)


def refused(error: ActionRefusedError) -> typer.Exit:
    """Raise this to end with what an act was refused for."""
    codes = {ActionRefusal.UNKNOWN: Exit.NOTHING, ActionRefusal.NO_CREDENTIALS: Exit.USAGE}
    return ended(codes.get(error.refusal, Exit.FAILED), str(error))


def _submit(app: App, action: str, data: Mapping[str, object], policy_id: str, owner_id: OwnerRef) -> None:
    """One event, settled.

    Raises:
        typer.Exit: it was not settled; it stays in the inbox.
        StoreError: the store cannot be reached.
    """
    submission = Submission(action, data, owner_id, str(uuid.uuid4()))
    verdict = submit(app, [submission], by=operator())[0]
    if not verdict.done:
        raise ended(Exit.FAILED, f"{policy_id}: {action} is not settled: {verdict.error}")


def _report(app: App, policy_id: str, done: str, *, as_json: bool) -> None:
    _, _, view = registered_policy(app, policy_id)
    reasons = f" ({', '.join(view['reasons'])})" if view["reasons"] else ""
    until = output.when_written(view["usable_until"], app.status.now())
    usable = "may not publish" if not view["usable"] else "may publish" + (f" until {until}" if until != "-" else "")
    standing = "" if done == view["state"] else f" {view['state']}{reasons},"
    output.note(f"{policy_id}: {done};{standing} {usable}")
    if as_json:
        output.line(output.as_json(view))


def operator() -> str:
    """Who acts: user and host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        # A container's user may have no name.
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def _nested(options: Mapping[str, object]) -> bytes:
    nested: dict[str, object] = {"package_owner": {}, "created_by": {}, "github": {}}
    for field, value in options.items():
        section, _, name = field.rpartition(".")
        inner = nested[section] if section else nested
        assert isinstance(inner, dict)
        inner[name] = value
    return output.as_json(nested).encode()


def _with_owner(ctx: typer.Context, written: bytes, names: Mapping[str, str]) -> bytes:
    """The data with the GitHub owner's id, where that is left out, all else is right and GitHub can be asked.

    Raises:
        typer.Exit: nobody has the login, or GitHub does not tell; or another field is wrong.
        StoreError: the store cannot be reached.
    """
    try:
        data = orjson.loads(written)
    except orjson.JSONDecodeError:
        return written
    if not isinstance(data, dict) or not leaves_out_owner(data):
        return written
    app = opened(ctx)
    issuer = issuer_told(data)
    if issuer not in app.settings.asked:
        return written
    checked = _validated(PolicyRegistered, orjson.dumps(with_owner(data, ANY_ID)), names)
    login, field = checked.github.repository_owner, names.get("github.repository_owner", "github.repository_owner")
    id_field = names.get("github.repository_owner_id", "github.repository_owner_id")
    known = owner_called(app.policies.load([checked.policy_id])[checked.policy_id].policy, issuer, login)
    if known is not None:
        return orjson.dumps(with_owner(data, id_of(known)))
    try:
        with OwnerIds.of(app, issuer) as owners:
            owner_id = owners.find([login])[login]
    except NoInstallationError:
        raise ended(Exit.FAILED, f"{id_field}: no installation of the App can ask for it; give it") from None
    except GitHubError as error:
        raise ended(Exit.UNREACHABLE, f"{id_field}: cannot be looked up now; give it, or try again ({error})") from None
    if owner_id is None:
        raise ended(Exit.FAILED, f"{field}: nobody on GitHub who may own repositories has this login; correct it")
    return orjson.dumps(with_owner(data, owner_id))


def _read(source: str) -> bytes:
    try:
        written = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
        # Some editors begin a file with a mark of its encoding.
        return written.removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise typer.BadParameter(f"cannot read {source}: {error.strerror}", param_hint="--from") from None


def _validated(model: type[ModelT], written: bytes, options: Mapping[str, str]) -> ModelT:
    """The data as `model`.

    Raises:
        typer.Exit: it does not fit; each bad field was named, by its option where it has one.
    """
    try:
        return model.model_validate_json(written)
    except ValidationError as error:
        fields = problems(error)
    for field, message in fields[:-1]:
        output.note(f"tenure: {options.get(field, field)}: {message}")
    field, message = fields[-1]
    raise ended(Exit.USAGE, f"{options.get(field, field)}: {message}")


def problems(error: ValidationError) -> list[tuple[str, str]]:
    """Each bad field with what is wrong, never its value."""
    return [
        (".".join(field) or "the object", message.removeprefix("Value error, ")) for field, message in bad_fields(error)
    ]
