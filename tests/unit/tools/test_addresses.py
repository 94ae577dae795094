"""Which addresses a tool may reach."""

import ipaddress

import pytest
from django.conf import LazySettings
from hypothesis import given
from hypothesis import strategies as st

from tools.addresses import allowed, parsed


def may(text: str) -> bool:
    address = parsed(text)
    assert address is not None
    return allowed(address)


@pytest.mark.parametrize(
    "text",
    ["1.1.1.1", "93.184.215.14", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450::1"],
)
def test_the_internet_is_reached(text: str) -> None:
    assert may(text)


def test_the_ipv4_address_within_decides() -> None:
    assert may("::ffff:1.1.1.1")
    assert may("64:ff9b::1.1.1.1")
    assert not may("::ffff:10.0.0.1")
    assert not may("64:ff9b::10.0.0.1")
    # What is behind these depends on a relay that anybody may run.
    assert not may("2002:101:101::")
    assert not may("2001:0:101:101::")
    assert not may("::1.1.1.1")


@pytest.mark.parametrize(
    ("network", "inside"),
    [
        ("10.1.0.0/16", "10.1.2.3"),
        ("10.1.0.0/16", "::ffff:10.1.2.3"),
        ("127.0.0.1/32", "127.0.0.1"),
        ("::1/128", "::1"),
        ("fd00:1::/32", "fd00:1::5"),
    ],
)
def test_the_operators_networks_are_reached(
    settings: LazySettings, network: str, inside: str
) -> None:
    assert not may(inside)
    settings.TOOL_ALLOWED_NETWORKS = (ipaddress.ip_network(network),)
    assert may(inside)
    for outside in ("10.2.0.1", "169.254.169.254", "fe80::1", "::2"):
        assert not may(outside)


def test_a_zone_is_never_reached(settings: LazySettings) -> None:
    settings.TOOL_ALLOWED_NETWORKS = (ipaddress.ip_network("::/0"),)
    assert may("fe80::1")
    assert not may("fe80::1%eth0")


@given(st.ip_addresses(v=4))
def test_never_more_than_python_calls_global_in_ipv4(address: ipaddress.IPv4Address) -> None:
    if allowed(address):
        assert address.is_global
        assert not address.is_multicast
        assert not address.is_reserved


@given(st.ip_addresses(v=6))
def test_never_more_than_python_calls_global_in_ipv6(address: ipaddress.IPv6Address) -> None:
    if allowed(address) and address.ipv4_mapped is None and not str(address).startswith("64:ff9b:"):
        assert address.is_global
        assert not address.is_multicast
