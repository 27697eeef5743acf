"""`POST /webhooks/github`, and `/webhooks/github/<alias>` of other instances: what GitHub tells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from handlers.models import MAX_ID
from handlers.table import TAKING, webhook_name, webhook_row
from worker.lifecycle.owners import DEFAULT, kind_at, owner_at
from worker.logs import logger
from worker.store.inbox import Envelope, identity
from worker.store.keys import Keyspace
from worker.web.access import Signatures
from worker.web.bodies import MAX_BODY, SMALL, Headers, announced, parse_payload, read_body, require_type
from worker.web.problems import ProblemError, answer
from worker.web.threads import Web

LONGEST_HEADER = 200
LONGEST_ACTION = 100
SETTING = " It is the content type in the webhook's settings."

log = logger("web")


class Webhooks:
    """Takes the deliveries of one instance of GitHub. Nothing is parsed before the signature has been checked over the raw
    bytes, with that instance's secrets alone.
    """

    def __init__(self, web: Web, issuer: str) -> None:
        self._web = web
        self._issuer = issuer
        self._signatures = Signatures(web.rotation, issuer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: Headers = dict(scope["headers"])
        if announced(headers) <= MAX_BODY:
            self._signatures.require(headers)
        digests = self._signatures.begin()
        with self._web.room.share() as share:
            body = await read_body(headers, receive, share, digests=digests)
            self._signatures.check(headers, digests)
            response = await self._accept(headers, body)
        await response(scope, receive, send)

    async def _accept(self, headers: Headers, body: bytes) -> Response:
        require_type(headers, "application/json", where=SETTING)
        event = _required(headers, "X-GitHub-Event")
        delivery = _required(headers, "X-GitHub-Delivery")
        keyspace = self._web.app.keyspace
        if len(body) > SMALL:
            envelope = await self._web.take_in(lambda: envelope_of(event, delivery, body, keyspace, self._issuer))
        else:
            envelope = envelope_of(event, delivery, body, keyspace, self._issuer)
        if envelope is None:
            status = "ignored"
        else:
            receipts = await self._web.inbox_writer.put((envelope,))
            status = "duplicate" if receipts[0].duplicate else "queued"
        log.debug(
            "webhook taken", status=status, delivery=delivery, event_name=event if envelope is None else envelope.name
        )
        return answer({"delivery": delivery, "status": status}, 200 if status == "duplicate" else 202)


def _required(headers: Headers, name: str) -> str:
    value = headers.get(name.lower().encode(), b"").decode("latin-1")
    if not value or len(value) > LONGEST_HEADER or not (value.isascii() and value.isprintable()):
        raise ProblemError(400, "headers", f"{name} is missing, or not a short text in ASCII. Send it as GitHub does.")
    return value


def envelope_of(event: str, delivery: str, body: bytes, keyspace: Keyspace, issuer: str = DEFAULT) -> Envelope | None:
    """The envelope for a delivery, or None if nothing here listens to its event.

    Neither the delivery's id nor the event's name is signed, so the body is part of what identifies it; and so is the instance
    that signed it, since two may send the very same.

    Raises:
        ProblemError: the body is not a JSON object (400).
    """
    payload = parse_payload(body)
    action = payload.get("action")
    usual = isinstance(action, str) and len(action) <= LONGEST_ACTION
    name = webhook_name(event, action if usual else None)
    # A dot in the header would pass for an action, which is signed.
    row = None if "." in event else webhook_row(name)
    if row is None:
        return None
    owner = next((owner_at(issuer, owner_id) for owner_id in _owners(payload)), None)
    kind = kind_at(issuer)
    return Envelope(
        partition=keyspace.of(delivery if owner is None else owner),
        event_id=identity(kind, event, delivery, body),
        kind=kind,
        name=name,
        delivery=delivery,
        body=body,
        owner=owner,
        first=name in TAKING,
        counted=row,
    )


def _owners(payload: Mapping[str, object]) -> Iterator[int]:
    """Ids of the owners whose policies may be concerned, the likeliest first.

    This only decides where the event waits: events of one owner share their round trips. Anything odd is passed over.
    """
    former = ("changes", "owner", "from")
    for path in (
        (*former, "organization", "id"),
        (*former, "user", "id"),
        ("repository", "owner", "id"),
        ("organization", "id"),
        ("installation", "account", "id"),
        ("account", "id"),
    ):
        value: object = payload
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_ID:
            yield value
