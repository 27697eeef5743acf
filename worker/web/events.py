"""`POST /events`: what the registry and the exchange tell, as CloudEvents 1.0.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import cast

import orjson
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from handlers.base import EXCHANGE, REGISTRY, bad_fields
from handlers.models import (
    AccountNamed,
    CloudEvent,
    LoginRefused,
    LoginSucceeded,
    PackageOwnerMember,
    PolicyNamed,
    PolicyRegistered,
)
from handlers.table import TAKING
from worker.lifecycle.facts import SECOND, Micros
from worker.lifecycle.views import micros
from worker.logs import logger
from worker.store.inbox import Answer, Envelope, Receipt, cloud_event_id
from worker.store.sessions import TokenRole
from worker.web.access import SENDERS, BearerTokens, Identity
from worker.web.answers import Answers
from worker.web.bodies import MAX_BODY, announced, parse_json, parse_object, read_body, require_type, too_long
from worker.web.preferences import wait_preferred
from worker.web.problems import ProblemError, answer
from worker.web.threads import Web

LOGINS = "login."
"""What an exchange may tell of."""
SINGLE = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
MAX_EVENTS = 1000
"""Events of one batch: they are stored in one step, in which nobody else is served."""
AHEAD: Micros = 300 * SECOND
"""How far the clock of a sender may be ahead of the store's."""

MODELS: dict[str, type[BaseModel]] = {
    "policy.registered": PolicyRegistered,
    "policy.updated": PolicyRegistered,
    "policy.renewed": PolicyNamed,
    "policy.removed": PolicyNamed,
    "login.succeeded": LoginSucceeded,
    "login.refused": LoginRefused,
    "account.locked": AccountNamed,
    "account.unlocked": AccountNamed,
    "account.deleted": AccountNamed,
    "account.restored": AccountNamed,
    "package_owner.member_removed": PackageOwnerMember,
    "package_owner.member_added": PackageOwnerMember,
}
"""What the data of each type looks like."""

log = logger("web")

Errors = list[dict[str, str]]


class Events:
    """Takes CloudEvents, one or a batch; a batch whole or not at all."""

    def __init__(self, web: Web, answers: Answers) -> None:
        self._web = web
        self._answers = answers
        self._tokens = BearerTokens(web.rotation)

    async def post(self, request: Request) -> Response:
        headers = dict(request.scope["headers"])
        if announced(headers) > MAX_BODY:
            raise too_long()
        # Before the body: who has no token has no claim on our memory.
        sender = self._tokens.check(headers, SENDERS)
        with self._web.room.share() as share:
            body = await read_body(headers, request.receive, share)
            batched = require_type(headers, SINGLE, BATCH) == BATCH
            envelopes = await self._web.take_in(partial(self._envelopes, body, sender, batched=batched))
            if envelopes:
                _agreed(await self._web.inbox_writer.put(envelopes), batched=batched)
        preferred = wait_preferred(request.headers.getlist("prefer"))
        for envelope in envelopes:
            log.debug("event taken", delivery=envelope.delivery, event_name=envelope.name, by=envelope.by)
        answers = None if preferred is None or not envelopes else await self._answers.of(envelopes, preferred)
        if answers is None:
            return answer({"accepted": len(envelopes)}, 202)
        told = [_told(*one) for one in zip(envelopes, answers, strict=True)]
        return answer(
            {"accepted": len(envelopes), "events": told}, 200, headers={"Preference-Applied": f"wait={preferred}"}
        )

    def _envelopes(self, body: bytes, sender: Identity, *, batched: bool) -> list[Envelope]:
        """
        Raises:
            ProblemError: the body is not what its type says (400), has too many events (413), events that this sender's
                role may not send (403), or bad fields (422).
            StoreError: the store's clock cannot be asked.
        """
        events = _batch(body) if batched else [parse_object(body)]
        if not events:
            return []
        _permit(sender, events, batched=batched)
        latest = self._web.app.status.now() + AHEAD
        envelopes: list[Envelope] = []
        errors: Errors = []
        for i, event in enumerate(events):
            made = self._envelope(event, sender, latest, f"events[{i}]" if batched else "", errors)
            if made is not None:
                envelopes.append(made)
        if errors:
            raise ProblemError(
                422, "fields", "Nothing was accepted: fields are missing or wrong. Correct those in `errors`.",
                extensions={"errors": errors},
            )  # fmt: skip
        return envelopes

    def _envelope(self, event: object, sender: Identity, latest: Micros, where: str, errors: Errors) -> Envelope | None:
        """The envelope for one event; what is wrong with it is added to `errors`."""
        try:
            envelope = CloudEvent.model_validate(event)
        except ValidationError as error:
            errors += _named(error, where)
            return None
        model = MODELS.get(envelope.type)
        occurred_at = micros(envelope.time)
        errors_before = len(errors)
        if occurred_at > latest:
            errors.append({"field": _path(where, "time"), "message": "more than 5 minutes ahead of Tenure's clock"})
        elif occurred_at < 0:
            errors.append({"field": _path(where, "time"), "message": "before 1970"})
        if model is None:
            errors.append({"field": _path(where, "type"), "message": f"is none of {', '.join(MODELS)}"})
            return None
        data = orjson.dumps(envelope.data)
        digest = None
        try:
            digest = model.model_validate_json(data)
        except ValidationError as error:
            errors += _named(error, _path(where, "data"))
        if digest is None or len(errors) > errors_before:
            return None
        owner, policy = _about(digest)
        return Envelope(
            partition=self._web.app.keyspace.of(_placed_by(envelope.data)),
            event_id=cloud_event_id(envelope.source, envelope.id),
            first=envelope.type in TAKING,
            said=content_digest(envelope.type, cast("dict[str, object]", event)["time"], envelope.data),
            kind=EXCHANGE if envelope.type.startswith(LOGINS) else REGISTRY,
            name=envelope.type,
            delivery=envelope.id,
            body=data,
            occurred_at=occurred_at,
            by=sender.name,
            source=envelope.source,
            owner=owner,
            policy=policy,
        )


def _told(envelope: Envelope, became: Answer) -> dict[str, object]:
    """What became of an event, for its sender."""
    told: dict[str, object] = {
        "source": envelope.source,
        "id": envelope.delivery,
        "state": became.state,
        "revisions": [came._asdict() for came in became.came],
        "more": became.more,
    }
    if became.error is not None:
        told |= {"letter": envelope.event_id, "error": became.error, "message": became.message}
    return told


def content_digest(type_: str, time: object, data: Mapping[str, object]) -> bytes:
    """A digest of what an event says: the same for what is the same as JSON values, in whatever order and form it is written.

    1 and 1.0 are the same number.
    """
    content = orjson.dumps((type_, time, data), option=orjson.OPT_SORT_KEYS)
    if _WHOLE(content):
        content = orjson.dumps(_plain((type_, time, data)), option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(content, digest_size=16).digest()


_WHOLE = re.compile(rb"\d(?:\.0\b|[eE])").search
"""What a whole number looks like that was not written as one."""


def _plain(value: object) -> object:
    """The same, with each whole number as an integer."""
    if isinstance(value, float) and value.is_integer():
        return int(value) if abs(value) < 2**63 else value
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _agreed(receipts: Sequence[Receipt], *, batched: bool) -> None:
    """
    Raises:
        ProblemError: events contradict what was said under their source and id (409).
    """
    contrary = [place for place, receipt in enumerate(receipts) if receipt.conflict]
    if contrary:
        message = "another event has this source and id, and says something else"
        errors = [{"field": f"events[{place}].id" if batched else "id", "message": message} for place in contrary]
        raise ProblemError(
            409, "conflict", "Nothing was accepted: give what you say an id of its own, and leave out what is in `errors`.",
            extensions={"errors": errors},
        )  # fmt: skip


def _batch(body: bytes) -> list[object]:
    parsed = parse_json(body)
    if not isinstance(parsed, list):
        raise ProblemError(400, "body", f"The body is JSON, but not an array. Send one event as {SINGLE}.")
    if len(parsed) > MAX_EVENTS:
        raise ProblemError(413, "too_long", f"The batch has more than {MAX_EVENTS} events. Send it in parts.")
    return parsed


def _permit(sender: Identity, events: Sequence[object], *, batched: bool) -> None:
    """
    Raises:
        ProblemError: an event is not this sender's to send (403). Its fields are not looked at.
    """
    if sender.role is not TokenRole.EXCHANGE:
        return
    types = [event.get("type") if isinstance(event, Mapping) else None for event in events]
    # What has no type, or an unknown one, is a wrong field whoever sends it.
    refused = [
        i for i, kind in enumerate(types) if isinstance(kind, str) and kind in MODELS and not kind.startswith(LOGINS)
    ]
    if refused:
        errors = [
            {
                "field": f"events[{i}].type" if batched else "type",
                "message": "an exchange's token may send login.* only",
            }
            for i in refused
        ]
        log.warning("events refused: not this token's to send", by=sender.name, role=sender.role.value)
        raise ProblemError(
            403, "role", "Nothing was accepted: this token is an exchange's. Send these events with a registry's token.",
            extensions={"errors": errors},
        )  # fmt: skip


def _path(where: str, field: str) -> str:
    return f"{where}.{field}" if where else field


def _named(error: ValidationError, where: str) -> Errors:
    """Every bad field with what is wrong with it, without its value."""
    return [
        {
            "field": ".".join(filter(None, [where, *field])),
            "message": message.removeprefix("Value error, "),
        }
        for field, message in bad_fields(error)
    ]


def _about(data: BaseModel) -> tuple[int | None, str | None]:
    """The GitHub owner and the policy that an event names."""
    if isinstance(data, PolicyRegistered):
        return data.github.repository_owner_id, data.policy_id
    if isinstance(data, LoginSucceeded):
        return data.repository_owner_id, data.policy_id
    return None, data.policy_id if isinstance(data, PolicyNamed | LoginRefused) else None


def _placed_by(data: Mapping[str, object]) -> str:
    """By what an event finds its partition: the owner's id, as decimal digits, or else whom it names.

    This only decides where the event waits.
    """
    github = data.get("github")
    owner = github.get("repository_owner_id") if isinstance(github, Mapping) else data.get("repository_owner_id")
    if owner is None:
        owner = data.get("policy_id") or data.get("package_owner") or data.get("account")
    return str(owner)
