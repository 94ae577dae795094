"""Creating, rotating and revoking keys on behalf of a key, which cannot pass on more than it has itself.

A new key has no scope that the key of the request lacks, and expires no later.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from map_project.api.audit import KeyActor
from map_project.api.errors import ValidationFailed
from map_project.tenants import keys
from map_project.tenants.authentication import WWW_AUTHENTICATE, Caller
from map_project.tenants.errors import InvalidApiKey
from map_project.tenants.models import ApiKey
from map_project.tenants.scopes import DEFAULT_SCOPES, check_scopes
from map_project.tenants.self_service.errors import KeyNotValid


@transaction.atomic
def create_key(
    *,
    caller: Caller,
    name: str = "",
    scopes: Sequence[str] | None = None,
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """Create a key. Return its row and the key. Raises ApiError.

    Without `expires_at` it expires with the key of the request.
    """
    check_scopes(caller.scopes, DEFAULT_SCOPES if scopes is None else scopes)
    own = _lock(caller)
    if expires_at and expires_at <= timezone.now():
        raise ValidationFailed(fields={"expires_at": ["The time must be in the future."]})
    if expires_at and own.expires_at and expires_at > own.expires_at:
        text = "A key cannot expire later than the key that creates it."
        raise ValidationFailed(fields={"expires_at": [text]})
    return keys.issue_key(
        tenant=own.tenant,
        name=name,
        scopes=scopes,
        expires_at=expires_at or own.expires_at,
        user=KeyActor(own.prefix),
    )


@transaction.atomic
def rotate_key(*, caller: Caller, key: ApiKey, grace: timedelta) -> tuple[ApiKey, str]:
    """Replace a key. Return the row of the new key and the key. Raises ApiError."""
    check_scopes(caller.scopes, keys.scopes_of(key))
    own = _lock(caller, key.pk)
    try:
        return keys.rotate_key(
            key=key, grace=grace, not_after=own.expires_at, user=KeyActor(own.prefix)
        )
    except keys.KeyNotValidError:
        raise KeyNotValid(key_id=str(key.pk)) from None


def revoke_key(*, caller: Caller, key: ApiKey) -> None:
    """Revoke a key, which may be wider than the key of the request, or that key itself."""
    keys.revoke_key(key=key, user=KeyActor(caller.key_prefix))


def _lock(caller: Caller, *key_ids: UUID) -> ApiKey:
    """Lock the row of the caller's key, and those of other keys. Return the former. Raises InvalidApiKey.

    The caller can be in the cache although its key was revoked: the new key would outlive the revocation.
    """
    rows = ApiKey.objects.filter(pk__in={caller.key_id, *key_ids})
    # In one order, so that two keys that rotate each other do not deadlock.
    locked = {row.pk: row for row in rows.order_by("pk").select_for_update(no_key=True)}
    own = locked.get(caller.key_id)
    if own is None or not keys.is_valid(own, at=timezone.now()):
        raise InvalidApiKey(headers={"WWW-Authenticate": WWW_AUTHENTICATE})
    return own
