"""Every login reaches Tenure, also if it is unreachable for a while: the outbox is emptied in order, and tried again.

Refusals are told, too, where a policy is known: nothing hangs on one, so they wait in memory, a bounded number of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import uuid
from collections import deque

import httpx

from examples.exchange.tokens import WorkflowToken
from examples.exchange.vault import Vault
from tenure_reader import Grant
from tenure_reader.claims import Claims, integer, text
from tenure_reader.lookup import MAX_ID
from tenure_reader.times import Micros, rfc3339

BATCH = 100
LOOK_SECONDS = 1.0
"""How often the outbox is looked at without being rung for: another exchange may have ended before its logins were told."""
PAUSES = (0.2, 10.0)
"""Seconds after a failure: the first, and the longest."""
STOP_SECONDS = 0.1
"""After so long, it is asked to end once more."""
NEVER = (400, 422)
"""Answers that the same event gets again, however often it is sent."""
MOST_REFUSALS = 1000
"""That wait to be told; the oldest go."""
LONGEST_TEXT = 900
"""Characters of a claim that are told: fewer than Tenure takes."""
SOURCE = "urn:tenure:exchange"

log = logging.getLogger("exchange.reporting")


def login(token: WorkflowToken, grant: Grant, at: Micros) -> str:
    """The event: ids as the token has them, by the store's clock. Sending it twice is as good as once."""
    claims = token.claims
    data: dict[str, object] = {
        "policy_id": grant["policy_id"],
        "repository_id": integer(claims["repository_id"]),
        "repository_owner_id": integer(claims["repository_owner_id"]),
        **({"issuer": grant["issuer"]} if "issuer" in grant else {}),
        "jti": claims["jti"],
        **_run(claims, "actor", "ref", "environment"),
        **_texts(claims, caller="workflow_ref", called="job_workflow_ref", runner="runner_environment"),
    }
    return _event(f"login-{token.use}", "login.succeeded", at, data)


def refusal(token: WorkflowToken, policy_id: str, code: str, at: Micros) -> str:
    """The event of a token that was refused under a policy; each time it is presented is another."""
    data = {"policy_id": policy_id, "code": code, **_run(token.claims, "ref", "actor")}
    return _event(f"refused-{uuid.uuid4()}", "login.refused", at, data)


def _run(claims: Claims, *names: str) -> dict[str, object]:
    """What is told of the run, as far as the token has it."""
    told: dict[str, object] = {}
    run_id = integer(claims.get("run_id"))
    if run_id is not None and 0 <= run_id <= MAX_ID:
        told["run_id"] = run_id
    return told | _texts(claims, **{name: name for name in names})


def _texts(claims: Claims, **names: str) -> dict[str, object]:
    """What claims say that are texts: name in the event → claim."""
    told = {name: (text(claims, claim) or "").strip()[:LONGEST_TEXT] for name, claim in names.items()}
    return {name: said for name, said in told.items() if said}


def _event(event_id: str, kind: str, at: Micros, data: dict[str, object]) -> str:
    event = {"id": event_id, "type": kind, "time": rfc3339(at), "data": data}
    return json.dumps({"specversion": "1.0", "source": SOURCE, **event})


class Reporter:
    """`start` it, and `stop` it; `wake` when there is something."""

    def __init__(self, vault: Vault, http: httpx.AsyncClient, url: str, token: str) -> None:
        self._vault = vault
        self._http = http
        self._url = f"{url}/events"
        self._token = token
        self._wake = asyncio.Event()
        self._stopped = False
        self._task: asyncio.Task[None] | None = None
        self._refusals: deque[str] = deque(maxlen=MOST_REFUSALS)
        self.untold = 0
        """Refusals that Tenure will not hear of: there were too many, or it does not take them."""

    @property
    def waiting(self) -> int:
        """Refusals that are still to be told."""
        return len(self._refusals)

    def refused(self, event: str) -> None:
        """Have this refusal told, some time after this request is answered."""
        self.untold += len(self._refusals) == MOST_REFUSALS
        self._refusals.append(event)
        self.wake()

    def wake(self) -> None:
        self._wake.set()

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self, seconds: float) -> None:
        """End it, wherever it is. Cancelled more than once, since one cancellation may be lost: redis-py sends with
        `asyncio.wait_for`, which before Python 3.12 forgets one that comes in the moment in which the sending ends.
        """
        self._stopped = True
        deadline = asyncio.get_running_loop().time() + seconds
        while self._task is not None and not self._task.done() and asyncio.get_running_loop().time() < deadline:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=STOP_SECONDS)

    async def _run(self) -> None:
        pause = PAUSES[0]
        while not self._stopped:
            self._wake.clear()
            try:
                more = await self._report()
                pause = PAUSES[0]
            except Exception as error:  # noqa: BLE001 - whatever it is, logins must not stop being reported
                log.warning("logins wait: %s", error if isinstance(error, httpx.HTTPError) else type(error).__name__)
                await asyncio.sleep(pause)
                pause, more = min(pause * 2, PAUSES[1]), True
            if not more:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._wake.wait()

    async def _report(self) -> bool:
        """Tell the oldest logins, and then refusals; returns whether there may be more.

        Raises:
            httpx.HTTPError: Tenure did not take them.
        """
        more = await self._report_logins()
        return await self._report_refusals() or more

    async def _report_refusals(self) -> bool:
        told = [self._refusals.popleft() for _ in range(min(BATCH, len(self._refusals)))]
        if not told:
            return False
        try:
            status = await self._send(told)
        except httpx.HTTPError:
            self._put_back(told)
            raise
        if status in NEVER:
            log.error("Tenure refuses what it is told of refusals (%s): %d are dropped", status, len(told))
            self.untold += len(told)
        elif status != httpx.codes.ACCEPTED:
            self._put_back(told)
            raise httpx.HTTPError(f"POST /events: {status}")
        return True

    def _put_back(self, told: list[str]) -> None:
        """As many of them as there is room for: what came meanwhile is newer."""
        room = MOST_REFUSALS - len(self._refusals)
        self.untold += max(0, len(told) - room)
        self._refusals.extendleft(reversed(told[max(0, len(told) - room) :]))

    async def _report_logins(self) -> bool:
        logins = await self._vault.logins(BATCH)
        if not logins:
            return False
        status = await self._send([event for _, event in logins])
        if status == httpx.codes.ACCEPTED:
            await self._vault.reported([entry_id for entry_id, _ in logins])
        elif status in NEVER:
            for entry_id, event in logins:
                await self._report_one(entry_id, event)
        else:
            raise httpx.HTTPError(f"POST /events: {status}")
        return True

    async def _report_one(self, entry_id: str, event: str) -> None:
        status = await self._send([event])
        if status in NEVER:
            log.error("Tenure refuses a login for good (%s); it is put aside", status)
            await self._vault.put_aside(entry_id, event)
        elif status == httpx.codes.ACCEPTED:
            await self._vault.reported([entry_id])
        else:
            raise httpx.HTTPError(f"POST /events: {status}")

    async def _send(self, events: list[str]) -> int:
        headers = {"Content-Type": "application/cloudevents-batch+json", "Authorization": f"Bearer {self._token}"}
        response = await self._http.post(self._url, content=f"[{','.join(events)}]", headers=headers)
        return response.status_code
