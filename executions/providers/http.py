"""The HTTP client of the providers, and what a request takes from the row of its model."""

import logging
import time
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx2
from django.core.exceptions import ImproperlyConfigured

from executions.providers import ModelError, ModelRequest, ModelTimeout
from map_project.api import secrets
from tools.outbound import OutboundTransport

MAX_RESPONSE_BYTES = 32 * 1024 * 1024
CONNECT_SECONDS = 10.0
# The SDKs require a key. Local servers need none and accept any.
NO_CREDENTIAL = "none"

# httpx2 logs the URL of each request.
logging.getLogger("httpx2").setLevel(logging.WARNING)

# One for all rows: connections carry no credential, and idle ones are reused by origin.
client = httpx2.Client(
    transport=OutboundTransport(
        max_response_bytes=MAX_RESPONSE_BYTES, is_guarded=False, max_idle_connections=100
    ),
    headers={"Accept-Encoding": "identity"},
    # Stores no cookie: a run must not receive the session of another.
    cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
)


def timeout(provider: str, request: ModelRequest) -> httpx2.Timeout:
    """Return the time for the whole request, also for one that is streamed. Raises ModelTimeout."""
    seconds_left = request.deadline - time.monotonic()
    if seconds_left <= 0:
        raise ModelTimeout("no time left for a request", provider=provider)
    seconds = min(float(request.model.timeout_seconds), seconds_left)
    return httpx2.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS))


def credential(provider: str, token: str) -> str:
    """Return the credential of a model. Raises ModelError if it cannot be decrypted."""
    try:
        return secrets.decrypt(token) if token else NO_CREDENTIAL
    except (secrets.Unreadable, ImproperlyConfigured) as error:
        text = f"the credential cannot be read: {error}"
        raise ModelError(
            text, provider=provider, status=None, retryable=False, reason="auth"
        ) from None
