"""Authentication by API key: resolved once per request, for the limiter and for DRF."""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from django.conf import settings
from django.db.models import Q
from django.db.models.functions import Now
from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from map_project.tenants import last_used
from map_project.tenants.errors import InvalidApiKey, MissingApiKey
from map_project.tenants.keys import hash_key, scopes_of
from map_project.tenants.models import DEFAULT_QUEUED_RUNS, ApiKey
from map_project.tenants.scopes import DEFAULT_SCOPES

WWW_AUTHENTICATE = 'Bearer realm="map", ApiKey realm="map" header="X-API-KEY"'

# Headers of other services in which clients send a key.
_OTHER_HEADERS = (
    "api-key",
    "apikey",
    "x-api-token",
    "x-auth-token",
    "x-access-token",
    "x-goog-api-key",
)

# A revocation must take effect within one second in every process.
CACHE_TTL_SECONDS = 0.75
_CACHE_SIZE = 10_000
_cache: dict[str, tuple["Caller", float]] = {}


@dataclass(frozen=True, slots=True)
class Caller:
    """The tenant of a valid API key, its limits and its allowed models (None: all models)."""

    tenant_id: uuid.UUID
    key_id: uuid.UUID
    key_prefix: str
    rate_limit_requests: int
    rate_limit_window_seconds: int
    allowed_models: frozenset[str] | None
    max_concurrent_runs: int | None = None
    max_queued_runs: int = DEFAULT_QUEUED_RUNS
    scopes: frozenset[str] = frozenset(DEFAULT_SCOPES)
    has_budget: bool = False


def resolve_caller(request: HttpRequest | Request) -> Caller | None:
    """Return the caller of a request, or None without a valid key. Stored on the request."""
    try:
        return request.map_caller  # type: ignore[union-attr, no-any-return]
    except AttributeError:
        key = key_from_headers(request)
        caller = find_caller(key) if key else None
        request.map_caller = caller  # type: ignore[union-attr]
        return caller


def key_from_headers(request: HttpRequest | Request) -> str | None:
    """Return the key in `X-API-KEY`, else the one in `Authorization: Bearer`."""
    headers: dict[str, str] = request.META
    if key := headers.get("HTTP_X_API_KEY", "").strip():
        return key
    scheme, _, token = headers.get("HTTP_AUTHORIZATION", "").strip().partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def find_caller(key: str) -> Caller | None:
    """Return the caller with this key, or None for an unknown, expired or revoked key or an inactive tenant.

    A caller is cached for `CACHE_TTL_SECONDS`. A miss is never cached: a new key works at once, and
    guessed keys do not fill the cache.
    """
    key_hash = hash_key(key)
    cached = _cache.get(key_hash)
    if cached is None or cached[1] <= time.monotonic():
        # Read the clock before the query, so that the age of its result is never underestimated.
        expires_at = time.monotonic() + CACHE_TTL_SECONDS
        caller = _load_caller(key_hash)
        if caller is None:
            _cache.pop(key_hash, None)
            return None
        if len(_cache) >= _CACHE_SIZE:
            _cache.clear()
        cached = caller, expires_at
        _cache[key_hash] = cached
    last_used.note(cached[0].key_id)
    return cached[0]


def _load_caller(key_hash: str) -> Caller | None:
    key = (
        ApiKey.objects.select_related("tenant")
        .filter(
            Q(expires_at=None) | Q(expires_at__gt=Now()),
            key_hash=key_hash,
            revoked_at=None,
            tenant__is_active=True,
        )
        .order_by()
        .first()
    )
    if key is None:
        return None
    tenant = key.tenant
    return Caller(
        tenant_id=tenant.pk,
        key_id=key.pk,
        key_prefix=key.prefix,
        rate_limit_requests=tenant.rate_limit_requests or settings.RATE_LIMIT_REQUESTS,
        rate_limit_window_seconds=(
            tenant.rate_limit_window_seconds or settings.RATE_LIMIT_WINDOW_SECONDS
        ),
        allowed_models=(
            None if tenant.allowed_models is None else frozenset(tenant.allowed_models)
        ),
        max_concurrent_runs=tenant.max_concurrent_runs,
        max_queued_runs=(
            DEFAULT_QUEUED_RUNS if tenant.max_queued_runs is None else tenant.max_queued_runs
        ),
        scopes=frozenset(scopes_of(key)),
        has_budget=tenant.has_budget,
    )


def _missing_key_hint(headers: Mapping[str, str]) -> str | None:
    """Return a message for a key in the wrong place, or None."""
    if "HTTP_AUTHORIZATION" in headers:
        return "The Authorization header must have the form: Bearer <key>."
    for name in _OTHER_HEADERS:
        if f"HTTP_{name.replace('-', '_').upper()}" in headers:
            return f"The header {name} is not used. Send the API key in the X-API-KEY header."
    if "key=" in headers.get("QUERY_STRING", ""):
        return "API keys in URLs are not accepted. Send the API key in the X-API-KEY header."
    return None


def _invalid_key_hint(key: str) -> str | None:
    if key.lower().startswith("bearer"):
        return 'The API key is not valid. Send the key without a second "Bearer".'
    return None


class TenantAuthentication(BaseAuthentication):
    """Sets `request.user` and `request.auth` to the caller, or responds with 401."""

    def authenticate(self, request: Request) -> tuple[Caller, Caller]:
        caller = resolve_caller(request)
        if caller is None:
            key = key_from_headers(request)
            error = InvalidApiKey if key else MissingApiKey
            raise error(
                _invalid_key_hint(key) if key else _missing_key_hint(request.META),
                headers={"WWW-Authenticate": WWW_AUTHENTICATE},
            )
        return caller, caller

    def authenticate_header(self, request: Request) -> str:
        return WWW_AUTHENTICATE
