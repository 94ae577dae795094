"""Which addresses a tool may reach: those of the public internet, and the operator's networks.

Python's `is_global` changes from release to release; the tables are IANA's registries of special
purpose addresses (https://www.iana.org/assignments/iana-ipv4-special-registry, -ipv6-), and some.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from django.conf import settings

Address = IPv4Address | IPv6Address

_SPECIAL_V4 = [
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # between a provider and its customers; some clouds' metadata
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # the platform of a cloud, seen from its machines
        "169.254.0.0/16",  # link-local; most clouds' metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT relays
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
]
# What is not in here is loopback, link-local, unique local, multicast, or not assigned.
_GLOBAL_V6 = IPv6Network("2000::/3")
_SPECIAL_V6 = [
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments; Teredo, which leads to an IPv4 address
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which leads to an IPv4 address
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
]
_NAT64 = IPv6Network("64:ff9b::/96")


def parsed(text: str) -> Address | None:
    """The address that a text spells in its one usual form; None for a name. A zone (`%eth0`) makes no
    address of the internet, and stays in it to be refused.
    """
    try:
        return ip_address(text)
    except ValueError:
        return None


def allowed(address: Address) -> bool:
    """Whether a tool may reach it."""
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return False
        address = _unwrapped(address)
    networks: tuple[IPv4Network | IPv6Network, ...] = settings.TOOL_ALLOWED_NETWORKS
    return _is_public(address) or any(address in network for network in networks)


def _unwrapped(address: IPv6Address) -> Address:
    """The IPv4 address that the network in between would make of it."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _SPECIAL_V4)
    return address in _GLOBAL_V6 and not any(address in network for network in _SPECIAL_V6)
