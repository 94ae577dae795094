"""Idempotency keys (draft-ietf-httpapi-idempotency-key-header): a repeated run call does not run again.

The key is bound to the request in Redis by the limiter, while it is in progress, and in PostgreSQL from the
moment at which its execution is stored. The unique constraint there decides.
"""

import hashlib
import re
import uuid
from dataclasses import dataclass
from datetime import timedelta

import orjson
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse

from map_project.api.errors import BadRequest
from map_project.api.numbers import loads
from ratelimit.errors import IdempotencyKeyReused
from ratelimit.models import IdempotentRequest

HEADER = "Idempotency-Key"
# The header of a response to a repeated request.
REPLAYED = "Idempotent-Replayed"
KEPT = timedelta(hours=24)
# Of one call of `delete_expired`.
BATCH = 1_000

_BARE = re.compile(r"[\x21-\x7e]{1,255}")
# A string of RFC 8941.
_QUOTED = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')


@dataclass(slots=True)
class KeyedRequest:
    """A run call with an idempotency key. `execution_id` is set when it has stored its execution."""

    tenant_id: uuid.UUID
    key: str
    fingerprint: str
    execution_id: uuid.UUID | None = None

    @classmethod
    def of(cls, request: HttpRequest, tenant_id: uuid.UUID) -> "KeyedRequest | None":
        """Return the request if it has the header. Raises BadRequest for an invalid key."""
        header = request.headers.get(HEADER)
        if header is None:
            return None
        text = header.strip()
        if text.startswith('"'):
            quoted = _QUOTED.fullmatch(text)
            text = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else ""
        if not _BARE.fullmatch(text):
            raise BadRequest(f"{HEADER} must have 1 to 255 visible ASCII characters.")
        route = f"{request.method} {request.path}\n".encode()
        return cls(tenant_id, text, hashlib.sha256(route + _canonical(request.body)).hexdigest())

    def find(self) -> IdempotentRequest | None:
        """Return the stored request with this key, or None.

        Raises IdempotencyKeyReused if it has another route or body, and DatabaseError.
        """
        stored = IdempotentRequest.objects.filter(
            tenant_id=self.tenant_id, key=self.key, created_at__gte=Now() - KEPT
        ).first()
        if stored is not None and stored.fingerprint != self.fingerprint:
            raise IdempotencyKeyReused
        return stored

    def store(self, execution_id: uuid.UUID) -> None:
        """Store the request in the current transaction, with that of its execution.

        Raises IntegrityError if another request has stored the key.
        """
        own = IdempotentRequest.objects.filter(tenant_id=self.tenant_id, key=self.key)
        own.filter(created_at__lt=Now() - KEPT).delete()
        IdempotentRequest.objects.create(
            tenant_id=self.tenant_id,
            key=self.key,
            fingerprint=self.fingerprint,
            execution_id=execution_id,
        )
        self.execution_id = execution_id

    def store_response(self, response: HttpResponse) -> None:
        """Store the response of a foreground run. Does nothing if no execution was stored."""
        if self.execution_id is None:
            return
        own = IdempotentRequest.objects.filter(
            tenant_id=self.tenant_id, key=self.key, execution_id=self.execution_id
        )
        own.update(response_status=response.status_code, response_body=response.content.decode())


def replayed(stored: IdempotentRequest) -> HttpResponse:
    """Return the stored response of a request."""
    return HttpResponse(
        stored.response_body,
        status=stored.response_status,
        content_type="application/json",
        headers={REPLAYED: "true"},
    )


def delete_expired() -> None:
    """Delete keys that are not kept any more. Raises DatabaseError."""
    expired = IdempotentRequest.objects.filter(created_at__lt=Now() - KEPT)
    IdempotentRequest.objects.filter(
        pk__in=[*expired.values_list("pk", flat=True)[:BATCH]]
    ).delete()


def _canonical(body: bytes) -> bytes:
    """Return the same bytes for equal JSON values. A body that is not JSON is refused later."""
    try:
        return orjson.dumps(loads(body), option=orjson.OPT_SORT_KEYS)
    except (orjson.JSONDecodeError, TypeError):
        return body
