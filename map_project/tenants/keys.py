"""Creating, hashing, rotating and revoking API keys. Commands and the admin call these functions.

Keys are stored as SHA-256 hashes. A key is random with high entropy, so a slow password hash would add no
security, but slow down each request (as in djangorestframework-api-key).
"""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.contrib.admin.models import ADDITION
from django.db import IntegrityError, transaction
from django.utils import timezone

from map_project.api import audit
from map_project.tenants.models import ApiKey, Tenant
from map_project.tenants.scopes import DEFAULT_SCOPES, ordered

PREFIX_LENGTH = 12


class KeyNotValidError(ValueError):
    """A key that is revoked or expired cannot be rotated."""


def hash_key(key: str) -> str:
    """The SHA-256 hash of any string, in hexadecimal."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


@transaction.atomic
def issue_key(
    *,
    tenant: Tenant,
    name: str = "",
    expires_in: timedelta | None = None,
    expires_at: datetime | None = None,
    scopes: Sequence[str] | None = None,
    user: audit.Actor = None,
) -> tuple[ApiKey, str]:
    """Create a key for the tenant. Return its row and the key, which is not stored.

    The key consists of `map_` and 43 URL-safe characters (256 random bits). `user` is for the audit log.
    """
    scopes = scopes and ordered(scopes)
    if expires_in:
        expires_at = timezone.now() + expires_in
    key, text = _create_key(
        user=user, tenant=tenant, name=name, scopes=scopes, expires_at=expires_at
    )
    audit.record(tenant, f"Issued the API key {key.prefix}.", user=user)
    values = audit.changes({}, {"name": name, "scopes": scopes, "expires_at": key.expires_at})
    audit.record(key, f"Issued. {values}".strip(), user=user, flag=ADDITION)
    return key, text


def _create_key(*, user: audit.Actor, **fields: Any) -> tuple[ApiKey, str]:
    fields |= _creator(user)
    while True:
        key = f"map_{secrets.token_urlsafe(32)}"
        try:
            with transaction.atomic():
                return store_key(key=key, **fields), key
        except IntegrityError as error:
            # A prefix has 48 random bits. Generate another key if the prefix exists.
            if "prefix" not in str(error):
                raise


def _creator(user: audit.Actor) -> dict[str, str]:
    if isinstance(user, audit.KeyActor):
        return {"created_by_key": user.prefix}
    return {"created_by": user.get_username() if user else audit.COMMAND_LINE}


def store_key(*, tenant: Tenant, key: str, **fields: Any) -> ApiKey:
    """Create the row of a given key, for example a demo key."""
    return ApiKey.objects.create(
        tenant=tenant, prefix=key[:PREFIX_LENGTH], key_hash=hash_key(key), **fields
    )


@transaction.atomic
def revoke_key(*, key: ApiKey, user: audit.Actor = None) -> None:
    """Revoke the key permanently. Does nothing if it is already revoked."""
    now = timezone.now()
    if not ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=now):
        return
    change = audit.changes({"revoked_at": None}, {"revoked_at": now})
    audit.record(key, f"Revoked. {change}", user=user)
    audit.record(key.tenant, f"Revoked the API key {key.prefix}.", user=user)


def rotate_key(
    *,
    key: ApiKey,
    grace: timedelta,
    not_after: datetime | None = None,
    user: audit.Actor = None,
) -> tuple[ApiKey, str]:
    """Replace a valid key. Return the row of the new key and the key, which is not stored.

    The old key remains valid for `grace`, but not beyond its expiry; without grace it is revoked. The new
    key has the same name, scopes and lifetime, starting now, but expires at `not_after` at the latest. A key
    can be rotated again in its grace period. The new key then has the lifetime before the first rotation.
    Raises KeyNotValidError.
    """
    with transaction.atomic():
        key = ApiKey.objects.select_for_update(no_key=True).get(pk=key.pk)
        now = timezone.now()
        if not is_valid(key, at=now):
            raise KeyNotValidError("This key is no longer valid. Issue a new one.")
        if key.rotated_at is None:
            key.rotated_at, key.original_expires_at = now, key.expires_at
        expires_at = key.original_expires_at
        ends = [not_after, expires_at and now + (expires_at - key.created_at)]
        new, text = _create_key(
            user=user,
            tenant=key.tenant,
            name=key.name,
            scopes=key.scopes,
            expires_at=min(filter(None, ends), default=None),
        )
        before = {"expires_at": key.expires_at, "revoked_at": key.revoked_at}
        if grace:
            key.expires_at = min(key.expires_at or now + grace, now + grace)
        else:
            key.revoked_at = now
        key.save(update_fields=["expires_at", "revoked_at", "rotated_at", "original_expires_at"])
        after = {"expires_at": key.expires_at, "revoked_at": key.revoked_at}
        change = audit.changes(before, after)
        message = f"Rotated the API key {key.prefix}. New key: {new.prefix}."
        audit.record(key.tenant, message, user=user)
        audit.record(key, f"Rotated. New key: {new.prefix}. {change}".strip(), user=user)
        audit.record(new, f"Issued to replace {key.prefix}.", user=user, flag=ADDITION)
        return new, text


def is_valid(key: ApiKey, *, at: datetime) -> bool:
    """Whether the key is neither revoked nor expired at this time. Ignores the state of the tenant."""
    return key.revoked_at is None and (key.expires_at is None or key.expires_at > at)


def creator_of(key: ApiKey) -> str:
    """Return the prefix of the key or the name of the user that created the key. Empty for older keys."""
    return key.created_by_key or key.created_by


def scopes_of(key: ApiKey) -> Sequence[str]:
    """Return what the key allows."""
    return DEFAULT_SCOPES if key.scopes is None else key.scopes
