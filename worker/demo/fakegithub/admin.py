"""Hands for other processes: change the world, set faults, and see what was asked.

`POST /_world` `{"do": verb, "with": {argument: value}}` → what the verb gives; `GET /_calls` → route → count;
`POST /_faults` with the fields of a `Fault`; `POST /_heal`. A request that cannot be done is answered 422, with why.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, is_dataclass

from worker.demo.fakegithub.answers import Request, ResponseRecord
from worker.demo.fakegithub.api import RequestLog
from worker.demo.fakegithub.faults import Fault, Faults
from worker.demo.fakegithub.payloads import Json
from worker.demo.fakegithub.records import DeliveryRecord, NotPossibleError, NotThereError
from worker.demo.fakegithub.world import World

PREFIX = "/_"
VERBS = frozenset(
    {
        "add_collaborator",
        "add_member",
        "add_org",
        "add_repository",
        "add_user",
        "archive",
        "block",
        "delete_account",
        "delete_repository",
        "give_repository",
        "install",
        "permit",
        "permit_members",
        "put_branch",
        "put_environment",
        "put_ruleset",
        "put_workflow",
        "record_delivery",
        "recreate",
        "remove_collaborator",
        "remove_member",
        "remove_workflow",
        "rename_account",
        "rename_repository",
        "set_visibility",
        "suspend",
        "take_repository_away",
        "transfer",
        "uninstall",
        "webhook_target",
    }
)


class Admin:
    def __init__(self, world: World, faults: Faults, calls: RequestLog) -> None:
        self._world = world
        self._faults = faults
        self._calls = calls

    def answer(self, request: Request) -> ResponseRecord:
        routes: dict[str, Callable[[bytes], object]] = {
            "POST /_world": self._do,
            "POST /_faults": self._fault,
            "POST /_heal": self._heal,
            "GET /_calls": self._count,
        }
        handler = routes.get(f"{request.method} {request.path}")
        if handler is None:
            return ResponseRecord(404, {"message": f"there is: {', '.join(routes)}"})
        try:
            return ResponseRecord(200, handler(request.body))
        except (NotThereError, NotPossibleError, TypeError, AttributeError) as error:
            return ResponseRecord(422, {"message": str(error)})

    def _do(self, body: bytes) -> object:
        body_fields = _fields(body)
        verb, arguments = body_fields.get("do"), body_fields.get("with", {})
        if not isinstance(verb, str) or verb not in VERBS:
            raise NotPossibleError(f"do: give one of {', '.join(sorted(VERBS))}")
        if not isinstance(arguments, dict):
            raise NotPossibleError("with: give an object of arguments")
        return _plain(getattr(self._world, verb)(**arguments))

    def _fault(self, body: bytes) -> object:
        make: Callable[..., Fault] = Fault
        self._faults.add(make(**_fields(body)))
        return {}

    def _heal(self, _: bytes) -> object:
        self._faults.heal()
        return {}

    def _count(self, _: bytes) -> object:
        return self._calls.count()


def _fields(body: bytes) -> Json:
    try:
        parsed = json.loads(body)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        raise NotPossibleError("the body: give a JSON object")
    return parsed


def _plain(result: object) -> object:
    """A record as JSON can carry it; the body of a delivery stays here."""
    if result is None or not is_dataclass(result) or isinstance(result, type):
        return {}
    fields = asdict(result)
    if isinstance(result, DeliveryRecord):
        del fields["body"]
    return {name: sorted(value) if isinstance(value, frozenset) else value for name, value in fields.items()}
