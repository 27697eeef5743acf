"""A load of signed webhooks over keep-alive connections: `python -m bench.load '{"port": …}'` prints what it did.

In a process of its own, so that it shares no interpreter with what listens. Bodies and signatures are made beforehand.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import NamedTuple

import uvloop

from bench.payloads import signature, subject, webhook

HOST = "127.0.0.1"


class Plan(NamedTuple):
    port: int
    connections: int
    seconds: float
    rate: float
    """Webhooks per second over all connections; 0: as fast as they are answered."""
    first: int
    """The first policy whose repository is archived and unarchived in turn."""
    policies: int
    name: str
    """Begins the delivery ids."""


class Sent(NamedTuple):
    delivery: str
    at: int
    """When it was sent, monotonic clock, ns."""
    took: int
    """Until it was answered, ns."""
    status: int


class Sender:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._number = 0
        self._tails = [
            f"X-Hub-Signature-256: {signature(body)}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
            for archived in (True, False)
            for body in (webhook(subject(plan.first + i), archived=archived) for i in range(plan.policies))
        ]
        self.sent: list[Sent] = []

    def _next(self) -> tuple[str, bytes]:
        number = self._number
        self._number += 1
        policies = self._plan.policies
        turn = (number // policies) % 2
        delivery = f"{self._plan.name}-{number}"
        head = (
            f"POST /webhooks/github HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
            f"X-GitHub-Event: repository\r\nX-GitHub-Delivery: {delivery}\r\n"
        )
        return delivery, head.encode() + self._tails[turn * policies + number % policies]

    async def run(self) -> None:
        begin = time.monotonic()
        await asyncio.gather(*(self._connection(begin, number) for number in range(self._plan.connections)))

    async def _connection(self, begin: float, number: int) -> None:
        plan = self._plan
        reader, writer = await asyncio.open_connection(HOST, plan.port)
        interval = plan.connections / plan.rate if plan.rate else 0.0
        planned = begin + interval * number / plan.connections
        while planned < begin + plan.seconds:
            if interval:
                await asyncio.sleep(max(0.0, planned - time.monotonic()))
            delivery, request = self._next()
            start = time.monotonic_ns()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            lower = head.lower()
            at = lower.index(b"content-length:") + len(b"content-length:")
            await reader.readexactly(int(lower[at : lower.index(b"\r\n", at)]))
            took = time.monotonic_ns() - start
            # With a rate, a delay counts from when it should have been sent, so that a stall is not left out.
            due = round(planned * 1e9) if interval else start
            self.sent.append(Sent(delivery, min(due, start), took, int(head[9:12])))
            planned = planned + interval if interval else time.monotonic()
        writer.close()


def main() -> None:
    sender = Sender(Plan(**json.loads(sys.argv[1])))
    uvloop.run(sender.run())
    json.dump(sender.sent, sys.stdout)


if __name__ == "__main__":
    main()
