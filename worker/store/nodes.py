"""What the servers of a store say of themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from redis.exceptions import RedisError, ResponseError

from worker.store.client import Client, Reply
from worker.store.rights import REASONS, Refusal, may_not_ask
from worker.store.topology import info_of, text_of

CONFIGURATION = (
    "appendonly", "appendfsync", "maxmemory", "maxmemory-policy", "protected-mode", "bind", "cluster-require-full-coverage",
)  # fmt: skip

LATELY = 3600.0
"""Seconds."""


class NodeReport(NamedTuple):
    """A primary, as it describes itself; what we may not ask is empty."""

    name: str
    info: dict[str, str]
    config: dict[str, str]
    admits: bool
    """Whether it answers without a password."""
    refused: str = ""
    """Why it does not tell its configuration."""

    @property
    def stops_with_others(self) -> bool:
        """Whether it answers nobody while another node of its cluster is away."""
        in_cluster = self.info.get("cluster_enabled") == "1"
        return in_cluster and self.config.get("cluster-require-full-coverage", "no") == "yes"

    @property
    def replicas(self) -> int:
        """How many replicas follow it."""
        return sum(name.startswith("slave") and "state=online" in value.split(",") for name, value in self.info.items())


def reports(client: Client) -> dict[str, NodeReport | RedisError]:
    """Every primary: name → what it says, or why it cannot be reached.

    Raises:
        StoreError: nobody says which they are.
    """
    about, config = client.each("INFO", "everything"), client.each("CONFIG", "GET", *CONFIGURATION)
    admits = client.admitting()
    return {name: _report(name, [about[name], config.get(name), admits.get(name)]) for name in about}


def _report(name: str, replies: list[Reply]) -> NodeReport | RedisError:
    for reply in replies:
        if isinstance(reply, RedisError) and not isinstance(reply, ResponseError):
            return reply
    about, config, admits = replies
    return NodeReport(
        name=name,
        info={} if isinstance(about, ResponseError) else info_of(about),
        config={key: text_of(value) for key, value in _pairs(config).items()},
        admits=bool(admits),
        refused=str(config) if isinstance(config, ResponseError) else "",
    )


def refusals(client: Client) -> dict[str, list[Refusal]] | None:
    """What each primary refused to its users in the last hour; None if we may not ask.

    Raises:
        StoreError: nobody says which they are.
    """
    ours = {text_of(name) for name in client.each("ACL", "WHOAMI").values() if not isinstance(name, RedisError)}
    if any(may_not_ask(name) for name in ours):
        # To ask would be refused, and be in the list.
        return None
    told = client.each("ACL", "LOG")
    if any(isinstance(reply, ResponseError) for reply in told.values()):
        return None
    return {name: list(_refused(reply)) for name, reply in told.items() if isinstance(reply, list)}


def _refused(entries: list[object]) -> Iterator[Refusal]:
    for entry in entries:
        said = _pairs(entry)
        reason = text_of(said.get("reason"))
        if float(text_of(said.get("age-seconds", "0"))) < LATELY and reason in REASONS:
            what = text_of(said.get("object"))
            yield Refusal(text_of(said.get("username")), reason, what, int(text_of(said.get("count", "1"))))


def _pairs(reply: Reply) -> dict[str, object]:
    """Names and values that alternate."""
    flat = reply if isinstance(reply, list) else []
    return {text_of(name): value for name, value in zip(flat[::2], flat[1::2], strict=False)}
