"""The addresses that tools may reach."""

import ipaddress

import pytest
from django.conf import LazySettings
from hypothesis import given
from hypothesis import strategies as st

from tools.addresses import is_allowed, parse_address


def is_text_allowed(text: str) -> bool:
    address = parse_address(text)
    assert address is not None
    return is_allowed(address)


@pytest.mark.parametrize(
    "text",
    ["1.1.1.1", "93.184.215.14", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450::1"],
)
def test_public_addresses_are_allowed(text: str) -> None:
    assert is_text_allowed(text)


def test_an_embedded_ipv4_address_decides() -> None:
    assert is_text_allowed("::ffff:1.1.1.1")
    assert is_text_allowed("64:ff9b::1.1.1.1")
    assert not is_text_allowed("::ffff:10.0.0.1")
    assert not is_text_allowed("64:ff9b::10.0.0.1")
    # Where these lead depends on a relay, which anyone may run.
    assert not is_text_allowed("2002:101:101::")
    assert not is_text_allowed("2001:0:101:101::")
    assert not is_text_allowed("::1.1.1.1")


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
def test_the_networks_of_the_operator_are_allowed(
    settings: LazySettings, network: str, inside: str
) -> None:
    assert not is_text_allowed(inside)
    settings.TOOL_ALLOWED_NETWORKS = (ipaddress.ip_network(network),)
    assert is_text_allowed(inside)
    for outside in ("10.2.0.1", "169.254.169.254", "fe80::1", "::2"):
        assert not is_text_allowed(outside)


def test_an_address_with_a_zone_is_refused(settings: LazySettings) -> None:
    settings.TOOL_ALLOWED_NETWORKS = (ipaddress.ip_network("::/0"),)
    assert is_text_allowed("fe80::1")
    assert not is_text_allowed("fe80::1%eth0")


@given(st.ip_addresses(v=4))
def test_only_global_ipv4_addresses_are_allowed(address: ipaddress.IPv4Address) -> None:
    if is_allowed(address):
        assert address.is_global
        assert not address.is_multicast
        assert not address.is_reserved


@given(st.ip_addresses(v=6))
def test_only_global_ipv6_addresses_are_allowed(address: ipaddress.IPv6Address) -> None:
    if (
        is_allowed(address)
        and address.ipv4_mapped is None
        and not str(address).startswith("64:ff9b:")
    ):
        assert address.is_global
        assert not address.is_multicast
