"""Making, finding and ending API keys; commands and admin call these, and nothing else does it.

A key is high-entropy, so a plain SHA-256 is enough to keep, and fast enough to look up: there is
nothing to guess, and a slow hash would only slow every request (the reasoning of
djangorestframework-api-key and of GitHub's tokens).
"""

import hashlib
import secrets
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.utils import timezone

from map_project.tenants.models import ApiKey, Tenant

PREFIX_LENGTH = 12


def hash_key(key: str) -> str:
    """The SHA-256 of a key in hexadecimal; any text has one."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def issue_key(
    *, tenant: Tenant, name: str = "", expires_in: timedelta | None = None
) -> tuple[ApiKey, str]:
    """A new key of the tenant: its row, and the key, which nobody can read again.

    The key is `map_` and 43 URL-safe characters, 256 random bits.
    """
    expires_at = timezone.now() + expires_in if expires_in else None
    while True:
        key = f"map_{secrets.token_urlsafe(32)}"
        try:
            with transaction.atomic():
                return keep_key(tenant=tenant, key=key, name=name, expires_at=expires_at), key
        except IntegrityError as error:
            # Eight characters of a prefix are random: once in 2^48 two meet, and we draw again.
            if "prefix" not in str(error):
                raise


def keep_key(
    *, tenant: Tenant, key: str, name: str = "", expires_at: datetime | None = None
) -> ApiKey:
    """The row for a key that is given, such as a demo key."""
    return ApiKey.objects.create(
        tenant=tenant,
        name=name,
        prefix=key[:PREFIX_LENGTH],
        key_hash=hash_key(key),
        expires_at=expires_at,
    )


def revoke_key(*, key: ApiKey) -> None:
    """Ends a key at once and for good; a second time changes nothing."""
    ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=timezone.now())
