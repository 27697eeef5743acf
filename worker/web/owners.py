"""Registrations without the id of their GitHub owner: the HTTP API asks who has the login, and keeps the id with the event."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple, TypeAlias

import orjson

from handlers.registry import with_owner
from handlers.table import REGISTRATION_REFUSED
from worker.app import App
from worker.github.answers import GitHubError, LimitedError
from worker.lifecycle.facts import SECOND, Micros
from worker.lifecycle.views import rfc3339
from worker.logs import Outage, logger, scrubbed
from worker.store.client import StoreError
from worker.store.inbox import Envelope
from worker.verify.owners import SECONDS, OwnerIds
from worker.web.problems import RETRY_SECONDS, ProblemError, ServiceUnavailableError

WITHIN: Micros = 600 * SECOND
"""How long after an event's `time` the login is still asked about: later it may be somebody else's."""
REQUESTS = 4
"""Requests of one process that ask at once."""
REGISTRATIONS = frozenset({"policy.registered", "policy.updated"})

RefusalCode: TypeAlias = Literal["unknown_owner", "resolved_too_late"]
REFUSALS: Mapping[str, str] = {
    "unknown_owner": "data.github.repository_owner: nobody on GitHub who may own repositories has this login; correct it, "
    "and register under another event id",
    "resolved_too_late": "data.github.repository_owner_id: was left out, and nobody can tell any more whose the login was, "
    "more than 10 minutes after `time`; register with the id, or with a newer `time`, under another event id",
}
"""Why a registration is refused that leaves out its owner's id."""
NO_ACCESS = "Field required: it may be left out only where Tenure can ask GitHub, and TENURE_GITHUB_APP_ID is not set; give the id"
NO_INSTALLATION = (
    "Field required: it may be left out only where Tenure can ask GitHub, and no installation of the App is there that "
    "lets it; install the App, or give the id"
)

log = logger("web")


class Unresolved(NamedTuple):
    """A registration that leaves out its owner's id."""

    place: int
    """In its request."""
    field: str
    """The path of what it leaves out."""
    login: str
    repository: str


class OwnerLookup:
    """Asks GitHub for the ids of owners, for the requests of one process."""

    def __init__(self, app: App) -> None:
        self._app = app
        self.possible = app.settings.asks_github
        self._lock = threading.Lock()
        self._owners: OwnerIds | None = None
        self._pool = ThreadPoolExecutor(REQUESTS, thread_name_prefix="owner-lookup")
        self._outage = Outage(log)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            if self._owners is not None:
                self._owners.close()

    async def find(self, logins: Collection[str]) -> Mapping[str, int | None]:
        """The ids of the accounts that have these logins now; None where nobody has one.

        Raises:
            NoInstallationError: nobody can be asked.
            ProblemError: one of them has no answer now (503).
        """
        if not logins:
            return {}
        try:
            async with asyncio.timeout(SECONDS):
                found = await asyncio.get_running_loop().run_in_executor(self._pool, self._find, logins)
        except (GitHubError, TimeoutError) as error:
            self._outage.failed("GitHub does not tell whose a login is", error=scrubbed(str(error)))
            raise self._unanswered(error) from None
        except StoreError:
            raise ServiceUnavailableError(
                "store", "The store cannot be reached now. Send it again in some seconds."
            ) from None
        self._outage.over("GitHub tells again whose a login is")
        return found

    def _find(self, logins: Collection[str]) -> Mapping[str, int | None]:
        with self._lock:
            if self._owners is None:
                self._owners = OwnerIds.of(self._app)
            owners = self._owners
        return owners.find(logins)

    @staticmethod
    def _unanswered(error: Exception) -> ProblemError:
        again = RETRY_SECONDS
        if isinstance(error, LimitedError):
            again = max(again, min(error.retry_at - int(time.time()), WITHIN // SECOND))
        return ProblemError(
            503, "github", "Nothing was accepted: GitHub cannot be asked now for the ids of owners that were left out. Send it "
            "again within 10 minutes of `time`, or give data.github.repository_owner_id.",
            headers={"Retry-After": str(again)},
        )  # fmt: skip


def resolved(envelope: Envelope, owner_id: int) -> Envelope:
    """The event with the id that was found, as it is kept from now on."""
    return envelope._replace(body=orjson.dumps(with_owner(orjson.loads(envelope.body), owner_id)), owner=owner_id)


def refused(envelope: Envelope, event: Unresolved, code: RefusalCode, now: Micros) -> Envelope:
    """The event that says that a registration is refused, in its place and under its id."""
    said = {
        "code": code, "message": REFUSALS[code], "repository_owner": event.login, "repository": event.repository,
        "source": envelope.source, "cause": {"kind": envelope.kind, "id": envelope.delivery, "event": envelope.name},
    }  # fmt: skip
    notice = {
        "specversion": "1.0", "id": envelope.event_id, "source": "tenure", "type": REGISTRATION_REFUSED,
        "subject": envelope.policy, "time": rfc3339(now), "datacontenttype": "application/json", "data": said,
    }  # fmt: skip
    return envelope._replace(
        name=REGISTRATION_REFUSED,
        body=orjson.dumps({"policy_id": envelope.policy, **said}),
        notice=orjson.dumps(notice),
        refused=code,
    )
