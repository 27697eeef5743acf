"""`POST /events`: what the registry and the exchange tell, as CloudEvents 1.0.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
from handlers.registry import ANY_ID, issuer_told, leaves_out_owner, with_owner
from handlers.table import TAKING
from worker.lifecycle.facts import SECOND, Micros
from worker.lifecycle.owners import DEFAULT, OwnerRef, issuer_of, owner_at
from worker.lifecycle.policy import owner_called
from worker.lifecycle.views import micros
from worker.logs import logger
from worker.store.inbox import Answer, Envelope, Receipt, cloud_event_id
from worker.store.sessions import TokenRole
from worker.verify.owners import MOST_LOGINS, NoInstallationError
from worker.web.access import SENDERS, BearerTokens, Identity
from worker.web.answers import Answers
from worker.web.bodies import MAX_BODY, announced, parse_json, parse_object, read_body, require_type, too_long
from worker.web.owners import (
    NO_ACCESS,
    NO_ACCESS_THERE,
    NO_INSTALLATION,
    REFUSALS,
    REGISTRATIONS,
    WITHIN,
    OwnerLookup,
    Unresolved,
    refused,
    resolved,
)
from worker.web.preferences import wait_preferred
from worker.web.problems import ProblemError, answer
from worker.web.threads import Web

OWNER_FIELD = "data.github.repository_owner_id"
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


@dataclass(frozen=True, slots=True)
class _Reading:
    """What is known while the events of one request are read."""

    sender: Identity
    latest: Micros
    """What may be said to have happened, at most."""
    errors: Errors = field(default_factory=list)
    unresolved: list[Unresolved] = field(default_factory=list)


class Events:
    """Takes CloudEvents, one or a batch; a batch whole or not at all."""

    def __init__(self, web: Web, answers: Answers, owners: OwnerLookup) -> None:
        self._web = web
        self._answers = answers
        self._owners = owners
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
            envelopes, unresolved = await self._web.take_in(partial(self._envelopes, body, sender, batched=batched))
            if unresolved:
                await self._resolve(envelopes, unresolved)
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

    async def _resolve(self, envelopes: list[Envelope], unresolved: Sequence[Unresolved]) -> None:
        """Give each registration that leaves out its owner's id the id, or refuse it; unless it was taken before: then what
        became of it stays, whoever has the login now.

        Raises:
            ProblemError: there are too many, or nobody can be asked (422); or not now (503).
        """
        began, new, known = await self._web.take_in(partial(self._new, envelopes, unresolved))
        for event, owner in known:
            envelopes[event.place] = resolved(envelopes[event.place], owner)
        asked = [event for event in new if not _late(envelopes[event.place], began)]
        accounts = list(dict.fromkeys(event.account for event in asked))
        if len(accounts) > MOST_LOGINS:
            beyond = set(accounts[MOST_LOGINS:])
            message = f"is left out of more than {MOST_LOGINS} different owners in one request; send them in parts"
            raise _wrong([{"field": e.field, "message": message} for e in asked if e.account in beyond])
        try:
            found = await self._owners.find(accounts)
        except NoInstallationError as error:
            raise _wrong([
                {"field": event.field, "message": NO_INSTALLATION} for event in asked if event.issuer == error.issuer
            ]) from None  # fmt: skip
        now = began if not accounts else await self._web.take_in(self._web.app.status.now)
        for event in new:
            envelope = envelopes[event.place]
            owner_id = found.get(event.account)
            if _late(envelope, now):
                envelopes[event.place] = refused(envelope, event, "resolved_too_late", now)
            elif owner_id is None:
                envelopes[event.place] = refused(envelope, event, "unknown_owner", now)
            else:
                envelopes[event.place] = resolved(envelope, owner_at(event.issuer, owner_id))
                log.info("the owner of a registration was looked up", delivery=envelope.delivery, owner_id=owner_id)

    def _new(
        self, envelopes: Sequence[Envelope], unresolved: Sequence[Unresolved]
    ) -> tuple[Micros, list[Unresolved], list[tuple[Unresolved, OwnerRef]]]:
        """The store's time, and of those that were not taken before, those that GitHub has to be asked about, and those whose
        policies have their owner.

        Raises:
            StoreError: the store could not be reached.
        """
        before = self._web.app.inbox.known([envelopes[event.place] for event in unresolved])
        new = [event for event, taken in zip(unresolved, before, strict=True) if not taken]
        policies = self._web.app.policies.load(list({event.policy_id for event in new}))
        owners = [(event, owner_called(policies[event.policy_id].policy, event.issuer, event.login)) for event in new]
        return (
            self._web.app.status.now(),
            [event for event, owner in owners if owner is None],
            [(event, owner) for event, owner in owners if owner is not None],
        )

    def _envelopes(self, body: bytes, sender: Identity, *, batched: bool) -> tuple[list[Envelope], list[Unresolved]]:
        """The envelopes, and which of them leave out their owner's id.

        Raises:
            ProblemError: the body is not what its type says (400), has too many events (413), events that this sender's
                role may not send (403), or bad fields (422).
            StoreError: the store's clock cannot be asked.
        """
        events = _batch(body) if batched else [parse_object(body)]
        if not events:
            return [], []
        _permit(sender, events, batched=batched)
        reading = _Reading(sender, self._web.app.status.now_anywhere() + AHEAD)
        envelopes: list[Envelope] = []
        for i, event in enumerate(events):
            made = self._envelope(event, reading, i, f"events[{i}]" if batched else "")
            if made is not None:
                envelopes.append(made)
        if reading.errors:
            raise _wrong(reading.errors)
        return envelopes, reading.unresolved

    def _envelope(self, event: object, reading: _Reading, place: int, where: str) -> Envelope | None:
        """The envelope for one event, the one at `place`; what is wrong with it, or left out, is added to `reading`."""
        errors = reading.errors
        try:
            envelope = CloudEvent.model_validate(event)
        except ValidationError as error:
            errors += _named(error, where)
            return None
        model = MODELS.get(envelope.type)
        occurred_at = micros(envelope.time)
        errors_before = len(errors)
        if occurred_at > reading.latest:
            errors.append({"field": _path(where, "time"), "message": "more than 5 minutes ahead of Tenure's clock"})
        elif occurred_at < 0:
            errors.append({"field": _path(where, "time"), "message": "before 1970"})
        if model is None:
            errors.append({"field": _path(where, "type"), "message": f"is none of {', '.join(MODELS)}"})
            return None
        data = orjson.dumps(envelope.data)
        ownerless = envelope.type in REGISTRATIONS and leaves_out_owner(envelope.data)
        issuer = issuer_told(envelope.data)
        if ownerless and issuer in self._web.app.settings.aliases and not self._owners.possible(issuer):
            message = NO_ACCESS if issuer == DEFAULT else NO_ACCESS_THERE
            errors.append({"field": _path(where, OWNER_FIELD), "message": message})
        digest = None
        try:
            # Of an event that leaves out its owner's id, all the rest is looked at before anybody is asked for it.
            checked = orjson.dumps(with_owner(envelope.data, ANY_ID)) if ownerless else data
            digest = model.model_validate_json(checked)
        except ValidationError as error:
            errors += _named(error, _path(where, "data"))
        elsewhere = None if digest is None else self._not_configured(digest)
        if elsewhere is not None:
            errors.append(
                {"field": _path(where, elsewhere), "message": "no instance of GitHub with this alias is configured"}
            )
        if digest is None or len(errors) > errors_before:
            return None
        owner, policy = _about(digest)
        if ownerless and isinstance(digest, PolicyRegistered):
            owner, github = None, digest.github
            field = _path(where, OWNER_FIELD)
            reading.unresolved.append(
                Unresolved(
                    place, field, digest.policy_id, github.issuer or DEFAULT, github.repository_owner, github.repository
                )
            )
        event_id = cloud_event_id(envelope.source, envelope.id)
        return Envelope(
            # Another event of the same id, whatever it says, waits in the same place.
            partition=self._web.app.keyspace.of(event_id),
            event_id=event_id,
            first=envelope.type in TAKING,
            said=content_digest(envelope.type, cast("dict[str, object]", event)["time"], envelope.data),
            kind=EXCHANGE if envelope.type.startswith(LOGINS) else REGISTRY,
            name=envelope.type,
            delivery=envelope.id,
            body=data,
            occurred_at=occurred_at,
            by=reading.sender.name,
            source=envelope.source,
            owner=owner,
            policy=policy,
        )

    def _not_configured(self, data: BaseModel) -> str | None:
        """The field by which an event names an instance of GitHub that there is not; None if it names none such."""
        owner, _ = _about(data)
        if owner is None or issuer_of(owner) in self._web.app.settings.aliases:
            return None
        return "data.github.issuer" if isinstance(data, PolicyRegistered) else "data.issuer"


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
    if became.refused is not None:
        told |= {"code": became.refused, "message": REFUSALS.get(became.refused, "")}
    return told


def _wrong(errors: Errors) -> ProblemError:
    """What a request is answered of which some fields are wrong."""
    return ProblemError(
        422, "fields", "Nothing was accepted: fields are missing or wrong. Correct those in `errors`.",
        extensions={"errors": errors},
    )  # fmt: skip


def _late(envelope: Envelope, now: Micros) -> bool:
    """Whether nobody can tell any more whose a login was when this happened."""
    return envelope.occurred_at is None or now - envelope.occurred_at > WITHIN


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


def _about(data: BaseModel) -> tuple[OwnerRef | None, str | None]:
    """The GitHub owner and the policy that an event names."""
    if isinstance(data, PolicyRegistered):
        return data.github.owner, data.policy_id
    if isinstance(data, LoginSucceeded):
        return data.owner, data.policy_id
    return None, data.policy_id if isinstance(data, PolicyNamed | LoginRefused) else None
