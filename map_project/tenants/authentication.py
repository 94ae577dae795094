"""Who calls: the tenant of an API key, resolved once a request, for the limiter and for DRF alike."""

import time
import uuid
from dataclasses import dataclass

import orjson
from django.conf import settings
from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from map_project.api.errors import ApiError
from map_project.tenants import last_used, queries
from map_project.tenants.keys import hash_key

_REALM = 'Bearer realm="map", ApiKey realm="map" header="X-API-KEY"'


# Counted from before the question, so that an answer is never believed for longer than a second.
_BELIEVED_SECONDS = 0.75
_BELIEVED_KEYS = 10_000
_believed: dict[str, tuple["Caller", float]] = {}


@dataclass(frozen=True, slots=True)
class Caller:
    """A tenant that proved itself with a key, its quota of runs, and the models it may use (None: all)."""

    tenant_id: uuid.UUID
    key_id: uuid.UUID
    key_prefix: str
    rate_limit_requests: int
    rate_limit_window_seconds: int
    allowed_models: frozenset[str] | None


def resolve_caller(request: HttpRequest) -> Caller | None:
    """Who calls; None without a valid key. The answer is kept on the request."""
    try:
        return request.map_caller  # type: ignore[attr-defined, no-any-return]
    except AttributeError:
        key = sent_key(request)
        caller = find_caller(key) if key else None
        request.map_caller = caller  # type: ignore[attr-defined]
        return caller


def sent_key(request: HttpRequest) -> str | None:
    """The key as sent: `X-API-KEY`, else `Authorization: Bearer`."""
    sent: dict[str, str] = request.META
    if key := sent.get("HTTP_X_API_KEY", "").strip():
        return key
    scheme, _, token = sent.get("HTTP_AUTHORIZATION", "").strip().partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def find_caller(key: str) -> Caller | None:
    """The caller whose key this is. Unknown, expired, revoked and deactivated are all None.

    A caller that was found is believed for `_BELIEVED_SECONDS`, so that a busy key costs a query now
    and then, and a change of key or tenant holds in every process within a second. What was not
    found is asked for every time: a new key works at once, and nobody fills the memory with guesses.
    """
    key_hash = hash_key(key)
    believed = _believed.get(key_hash)
    if believed is not None and believed[1] > time.monotonic():
        caller: Caller | None = believed[0]
    else:
        asked = time.monotonic()
        caller = _read_caller(key_hash)
        _believe(key_hash, caller, asked + _BELIEVED_SECONDS)
    if caller is not None:
        last_used.note(caller.key_id)
    return caller


def _believe(key_hash: str, caller: Caller | None, until: float) -> None:
    if caller is None:
        _believed.pop(key_hash, None)
        return
    if len(_believed) >= _BELIEVED_KEYS:
        _believed.clear()
    _believed[key_hash] = caller, until


def _read_caller(key_hash: str) -> Caller | None:
    row = queries.CALLER(key_hash=key_hash).first()
    if row is None:
        return None
    allowed_models = row["tenant__allowed_models"]
    return Caller(
        tenant_id=row["tenant_id"],
        key_id=row["id"],
        key_prefix=row["prefix"],
        rate_limit_requests=row["tenant__rate_limit_requests"] or settings.RATE_LIMIT_REQUESTS,
        rate_limit_window_seconds=(
            row["tenant__rate_limit_window_seconds"] or settings.RATE_LIMIT_WINDOW_SECONDS
        ),
        allowed_models=None if allowed_models is None else frozenset(orjson.loads(allowed_models)),
    )


class TenantAuthentication(BaseAuthentication):
    """DRF's side of it: `request.user` and `request.auth` are the caller, or the answer is 401."""

    def authenticate(self, request: Request) -> tuple[Caller, Caller]:
        caller = resolve_caller(request._request)
        if caller is None:
            raise _unauthorized(sent_key(request._request))
        return caller, caller

    def authenticate_header(self, request: Request) -> str:
        return _REALM


def _unauthorized(key: str | None) -> ApiError:
    headers = {"WWW-Authenticate": _REALM}
    if key is None:
        message = "An API key is needed: send it as X-API-KEY."
        return ApiError(401, "MISSING_API_KEY", message, headers=headers)
    return ApiError(401, "INVALID_API_KEY", "This API key is not valid.", headers=headers)
