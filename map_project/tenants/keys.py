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


def rotate_key(*, key: ApiKey, grace: timedelta) -> tuple[ApiKey, str]:
    """A new key in the place of one that is valid: its row, and the key, which nobody can read again.

    The old key stays valid for `grace`, at most until its own end; with no grace it is revoked. The
    new one has its name, and as long a life from now on as the old one was given.

    Raises ValueError for a key that is revoked or expired.
    """
    with transaction.atomic():
        key = ApiKey.objects.select_for_update(no_key=True).get(pk=key.pk)
        now = timezone.now()
        if not is_valid(key, at=now):
            raise ValueError("This key is not valid any more; issue a new one.")
        life = key.expires_at - key.created_at if key.expires_at else None
        made = issue_key(tenant=key.tenant, name=key.name, expires_in=life)
        if grace:
            key.expires_at = min(key.expires_at or now + grace, now + grace)
        else:
            key.revoked_at = now
        key.save(update_fields=["expires_at", "revoked_at"])
        return made


def is_valid(key: ApiKey, *, at: datetime) -> bool:
    """Whether the key opens anything then, its tenant's state aside."""
    return key.revoked_at is None and (key.expires_at is None or key.expires_at > at)
