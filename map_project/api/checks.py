"""System checks of `check --deploy`: whether all stored secrets can be decrypted."""

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.db import DatabaseError

from map_project.api import secrets

UNREADABLE = "secrets.E001"
NO_KEYS = "secrets.W001"
OLD_KEY = "secrets.W002"
UNKNOWN = "secrets.W003"
_ROWS_SHOWN = 5


@checks.register(checks.Tags.security, deploy=True)
def check_secrets(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[checks.CheckMessage]:
    """Report rows that no key decrypts, and rows that are not encrypted with the first key."""
    try:
        if settings.SECRETS_KEYS:
            return [message for field in secrets.token_fields() for message in _check(field)]
        return [_check_without_keys()]
    except DatabaseError as error:
        reason = type(error).__name__
        message = f"The stored secrets could not be read from the database ({reason})."
        return [checks.Warning(message, id=UNKNOWN)]


def _check_without_keys() -> checks.CheckMessage:
    used = [
        str(field) for field in secrets.token_fields() if secrets.rows_with_token(field).exists()
    ]
    if used:
        message = f"SECRETS_KEYS is not set, so the secrets in {', '.join(used)} cannot be read."
        return checks.Error(message, id=UNREADABLE)
    message = "SECRETS_KEYS is not set: tools and models cannot have secrets."
    return checks.Warning(message, hint=secrets.NO_KEYS, id=NO_KEYS)


def _check(field: secrets.TokenField) -> Iterator[checks.CheckMessage]:
    unreadable, old = [], 0
    for pk, token in secrets.tokens(field):
        try:
            secrets.decrypt(token)
        except secrets.Unreadable:
            unreadable.append(pk)
        else:
            old += not secrets.is_current(token)
    if unreadable:
        shown = ", ".join(map(str, unreadable[:_ROWS_SHOWN]))
        more = ", …" if len(unreadable) > _ROWS_SHOWN else ""
        message = (
            f"No key of SECRETS_KEYS decrypts {len(unreadable)} rows of {field}: {shown}{more}."
        )
        hint = "Add the key that encrypted them, or set these secrets again."
        yield checks.Error(message, hint=hint, id=UNREADABLE)
    if old:
        message = f"{old} rows of {field} are not encrypted with the first key of SECRETS_KEYS."
        yield checks.Warning(message, hint="Run manage.py rotate_secrets.", id=OLD_KEY)
