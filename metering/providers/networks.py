"""Which addresses may be asked. A name is looked up once, every address that it has is judged, and one of those
judged is connected to: a name that answers differently a moment later gains nothing.
"""

import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

#: What is not asked unless the operator decides otherwise: no server of anybody is there, but what is there may
#: hand out credentials of this machine. Private networks and this machine itself are where servers often are.
BLOCKED = (
    *("0.0.0.0/8", "::/128"),  # unspecified
    *("169.254.0.0/16", "fe80::/10"),  # link-local, with the metadata of most clouds
    *("100.100.100.200/32", "168.63.129.16/32", "192.0.0.0/24"),  # metadata of Alibaba, Azure and Oracle
    *("fd00:ec2::254/128", "fd20:ce::254/128", "fd00:c1::a9fe:a9fe/128"),  # metadata of AWS, Google and Oracle
    *("224.0.0.0/4", "ff00::/8"),  # multicast
    *("240.0.0.0/4", "100::/64"),  # reserved, and broadcast; discard
)
#: A prefix whose addresses a gateway turns into the IPv4 addresses that they end with (RFC 6052).
_NAT64 = IPv6Network("64:ff9b::/96")


class Blocked(Exception):
    """A name has an address in a network that may not be asked."""


def parse(networks: Iterable[str]) -> tuple[Network, ...]:
    """Read networks in CIDR notation. Raises ValueError, naming the one that is none."""
    return tuple(ip_network(text.strip()) for text in networks)


_blocked = parse(BLOCKED)


def block(networks: Iterable[str]) -> None:
    """Decide for this process which networks may not be asked, instead of BLOCKED. Raises ValueError."""
    global _blocked
    _blocked = parse(networks)


def look_up(host: str, port: int) -> list[str]:
    """Return the addresses of a host, in the order in which they are to be tried.

    Raises Blocked when one of them may not be asked, and OSError or UnicodeError when there are none.
    """
    found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    for text in found:
        if network := blocking(ip_address(text)):
            said = text if text == host else f"{host}, which is {text},"
            raise Blocked(f"{said} lies in {network}, a network that may not be asked")
    return list(dict.fromkeys(found))


def blocking(address: Address) -> Network | None:
    """Return the network for which an address may not be asked, or None."""
    plain = _plain(address)
    return next((network for network in _blocked if plain in network or address in network), None)


def _plain(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address is a way of writing, or the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def written(digest: str) -> str:
    """Write a fingerprint as openssl and browsers do: AB:CD:…"""
    return ":".join(digest[at : at + 2] for at in range(0, len(digest), 2)).upper()
