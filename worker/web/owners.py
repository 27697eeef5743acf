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
from worker.lifecycle.owners import OwnerRef, id_of
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
NO_ACCESS_THERE = "Field required: it may be left out only where Tenure can ask this instance of GitHub, and TENURE_ISSUERS has no app_id of it; give the id"
NO_INSTALLATION = (
    "Field required: it may be left out only where Tenure can ask GitHub, and no installation of the App is there that "
    "lets it; install the App, or give the id"
)

log = logger("web")


class Account(NamedTuple):
    """An account of an instance of GitHub, by its login in lower case."""

    issuer: str
    login: str


class Unresolved(NamedTuple):
    """A registration that leaves out its owner's id."""

    place: int
    """In its request."""
    field: str
    """The path of what it leaves out."""
    policy_id: str
    issuer: str
    """The alias of the instance of GitHub at which it is."""
    login: str
    repository: str

    @property
    def account(self) -> Account:
        return Account(self.issuer, self.login.lower())


class OwnerLookup:
    """Asks GitHub for the ids of owners, for the requests of one process."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._owners: dict[str, OwnerIds] = {}
        self._pool = ThreadPoolExecutor(REQUESTS, thread_name_prefix="owner-lookup")
        self._outage = Outage(log)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            for owners in self._owners.values():
                owners.close()

    def possible(self, issuer: str) -> bool:
        """Whether this instance of GitHub can be asked."""
        return issuer in self._app.settings.asked

    async def find(self, accounts: Collection[Account]) -> Mapping[Account, int | None]:
        """The ids of these accounts now, each of its own instance; None where nobody has the login.

        Raises:
            NoInstallationError: nobody can be asked.
            ProblemError: one of them has no answer now (503).
        """
        if not accounts:
            return {}
        loop, logins = asyncio.get_running_loop(), dict[str, list[str]]()
        for account in accounts:
            logins.setdefault(account.issuer, []).append(account.login)
        try:
            async with asyncio.timeout(SECONDS):
                found = await asyncio.gather(
                    *(loop.run_in_executor(self._pool, self._find, issuer, some) for issuer, some in logins.items())
                )
        except (GitHubError, TimeoutError) as error:
            self._outage.failed("GitHub does not tell whose a login is", error=scrubbed(str(error)))
            raise self._unanswered(error) from None
        except StoreError:
            raise ServiceUnavailableError(
                "store", "The store cannot be reached now. Send it again in some seconds."
            ) from None
        self._outage.over("GitHub tells again whose a login is")
        return {account: owner_id for one in found for account, owner_id in one.items()}

    def _find(self, issuer: str, logins: Collection[str]) -> Mapping[Account, int | None]:
        with self._lock:
            owners = self._owners.get(issuer)
            if owners is None:
                owners = self._owners[issuer] = OwnerIds.of(self._app, issuer)
        return {Account(issuer, login): owner_id for login, owner_id in owners.find(logins).items()}

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


def resolved(envelope: Envelope, owner: OwnerRef) -> Envelope:
    """The event with the id that was found, as it is kept from now on."""
    return envelope._replace(body=orjson.dumps(with_owner(orjson.loads(envelope.body), id_of(owner))), owner=owner)


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
