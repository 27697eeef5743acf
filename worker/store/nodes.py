"""What the servers of a store say of themselves."""

from __future__ import annotations

from typing import NamedTuple, cast

from redis.exceptions import RedisError, ResponseError

from worker.store.client import Client, Reply
from worker.store.topology import info_of, text_of

CONFIGURATION = (
    "appendonly", "appendfsync", "maxmemory", "maxmemory-policy", "protected-mode", "bind", "cluster-require-full-coverage",
)  # fmt: skip


class NodeReport(NamedTuple):
    """A primary, as it describes itself; what we may not ask is empty."""

    name: str
    info: dict[str, str]
    config: dict[str, str]
    flags: frozenset[str]
    """Of the user that has no name."""
    refused: str = ""
    """Why it does not tell its configuration, or who may reach it."""

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
    asked = (("INFO", "everything"), ("CONFIG", "GET", *CONFIGURATION), ("ACL", "GETUSER", "default"))
    replies = [client.each(*words) for words in asked]
    return {name: _report(name, [reply.get(name) for reply in replies]) for name in replies[0]}


def _report(name: str, replies: list[Reply]) -> NodeReport | RedisError:
    for reply in replies:
        if isinstance(reply, RedisError) and not isinstance(reply, ResponseError):
            return reply
    about, config, user = replies
    refused = next((str(reply) for reply in (config, user) if isinstance(reply, ResponseError)), "")
    return NodeReport(
        name=name,
        info={} if isinstance(about, ResponseError) else info_of(about),
        config={key: text_of(value) for key, value in _pairs(config).items()},
        flags=frozenset(map(text_of, cast("list[object]", _pairs(user).get("flags", [])))),
        refused=refused,
    )


def _pairs(reply: Reply) -> dict[str, object]:
    """Names and values that alternate."""
    flat = reply if isinstance(reply, list) else []
    return {text_of(name): value for name, value in zip(flat[::2], flat[1::2], strict=False)}
