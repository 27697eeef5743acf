"""Whose connections are many senders' at once, and whom their headers name."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple

Network = IPv4Network | IPv6Network


class Proxies(NamedTuple):
    """The proxies in front of an API."""

    named: tuple[Network, ...]
    """Their networks; an address is a network of one."""
    private: bool
    """Whether every address that is not of the public internet may be one: there is a proxy, and nobody named it."""

    def trusts(self, address: str) -> bool:
        """Whether a connection from here is a proxy's."""
        address_read = _parsed(address)
        if address_read is None:
            return False
        return (self.private and address_read.is_private) or any(address_read in network for network in self.named)

    def sender(self, peer: str, forwarded: Sequence[str]) -> str:
        """Whom a request is from: `peer`, or whom its proxy saw, in the headers `X-Forwarded-For` as they came.

        Every proxy adds to the end, and what stands before that is anybody's to write. Named proxies are skipped from the
        end; where none is named, the last counts, since senders may have private addresses too.
        """
        hops = [hop for header in forwarded for part in header.split(",") if (hop := part.strip())]
        if not hops or not self.trusts(peer):
            return peer
        if not self.named:
            return hops[-1]
        return next((hop for hop in reversed(hops) if not self.trusts(hop)), hops[0])


def networks(line: str) -> tuple[Network, ...]:
    """`10.0.0.0/8, 2001:db8::1` → two networks.

    Raises:
        ValueError: a part is neither an address nor a network, or a network has bits of an address.
    """
    try:
        return tuple(ip_network(part.strip()) for part in line.split(",") if part.strip())
    except ValueError as error:
        msg = f"{error}; write addresses and networks, as 10.0.0.7, 192.168.0.0/16"
        raise ValueError(msg) from None


def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    try:
        address_read = ip_address(address)
    except ValueError:
        return None
    # A socket for both families tells IPv4 addresses so.
    return (isinstance(address_read, IPv6Address) and address_read.ipv4_mapped) or address_read
