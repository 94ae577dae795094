"""Signing in: whose attempt it is, and what is said to who tried too often."""

import ipaddress
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse


def client_address(request: HttpRequest) -> str | None:
    """The client's address, as the outermost of our own proxies saw it.

    Each proxy appends who called it to `X-Forwarded-For`, so with `TRUSTED_PROXIES` of them the
    client stands at that place from the right; what is left of it anybody may have written. An IPv6
    client counts as its /64, of which every address is its own.
    """
    address = request.META.get("REMOTE_ADDR") or ""
    if settings.TRUSTED_PROXIES:
        forwarded = request.headers.get("X-Forwarded-For", "")
        hops = [hop.strip() for hop in forwarded.split(",") if hop.strip()]
        if len(hops) >= settings.TRUSTED_PROXIES:
            address = hops[-settings.TRUSTED_PROXIES]
    return _normal(address)


def _normal(text: str) -> str | None:
    try:
        address = ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((int(address), 64), strict=False).network_address)
    return str(address)


def locked_out(request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    """The page for an address that is locked, 429."""
    minutes = int(settings.AXES_COOLOFF_TIME.total_seconds() // 60)
    return TemplateResponse(
        request,
        "desk/locked_out.html",
        {**context, "title": "Too many attempts", "minutes": minutes},
        status=429,
        headers={"Retry-After": str(minutes * 60)},
    )
