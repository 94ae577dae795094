"""Sign-in: the form, the client's address, and the page for a locked address."""

import ipaddress
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from unfold.forms import AuthenticationForm

# One more than a user name can have, so that the rest of a longer name does not matter.
_MAX_NAME_LENGTH = 151


class SignInForm(AuthenticationForm):
    """A name or password that no user can have is wrong like any other, so that the lock counts it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for field in self.fields.values():
            # Without the check for NUL characters, which would reject the form before it is an attempt.
            field.validators = []

    def clean_username(self) -> str:
        """The name as the database accepts it: bounded (Unicode normalization extends it), without NUL."""
        name: str = self.cleaned_data["username"]
        return name.replace("\0", "\N{REPLACEMENT CHARACTER}")[:_MAX_NAME_LENGTH]


def client_address(request: HttpRequest) -> str | None:
    """The client's IP address, as the outermost trusted proxy saw it.

    Each proxy appends the address of its client to `X-Forwarded-For`. With `TRUSTED_PROXIES` of them,
    the client is at that position from the right; clients can forge everything to the left of it.
    An IPv6 client counts as its /64 network, in which it can choose any address.
    """
    address = request.META.get("REMOTE_ADDR") or ""
    if settings.TRUSTED_PROXIES:
        forwarded = request.headers.get("X-Forwarded-For", "")
        hops = [hop.strip() for hop in forwarded.split(",") if hop.strip()]
        if len(hops) >= settings.TRUSTED_PROXIES:
            address = hops[-settings.TRUSTED_PROXIES]
    return _normalized(address)


def _normalized(text: str) -> str | None:
    try:
        address = ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((int(address), 64), strict=False).network_address)
    return str(address)


def locked_out(
    request: HttpRequest, original_response: HttpResponse, credentials: dict[str, Any] | None
) -> HttpResponse:
    """The 429 page for a locked address (the setting `AXES_LOCKOUT_CALLABLE`)."""
    minutes = int(settings.AXES_COOLOFF_TIME.total_seconds() // 60)
    context = {
        **admin.site.each_context(request),
        "title": "Too many attempts",
        "minutes": minutes,
    }
    response = render(request, "desk/locked_out.html", context, status=429)
    response.headers["Retry-After"] = str(minutes * 60)
    return response
