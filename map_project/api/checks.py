"""Whether what is kept encrypted can still be read: `check --deploy`, which alone reads all of it."""

from collections.abc import Iterator, Sequence
from itertools import islice
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
_SHOWN = 5


@checks.register(checks.Tags.security, deploy=True)
def check_secrets(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[checks.CheckMessage]:
    """Tell of rows that no key opens, and of those that are not under the first key yet."""
    try:
        if settings.SECRETS_KEYS:
            return [message for column in secrets.columns for message in _of(column)]
        return [*_without_keys()]
    except DatabaseError as error:
        reason = type(error).__name__
        message = f"The database could not be asked for what is kept encrypted ({reason})."
        return [checks.Warning(message, id=UNKNOWN)]


def _without_keys() -> Iterator[checks.CheckMessage]:
    kept = [str(column) for column in secrets.columns if column.rows().exists()]
    if kept:
        message = f"SECRETS_KEYS is not set, and no secret in {', '.join(kept)} can be read."
        yield checks.Error(message, id=UNREADABLE)
    else:
        message = "SECRETS_KEYS is not set: tools and models cannot be given secrets."
        yield checks.Warning(message, hint=secrets.NO_KEYS, id=NO_KEYS)


def _of(column: secrets.Column) -> Iterator[checks.CheckMessage]:
    unreadable, old = [], 0
    for pk, token in column.tokens():
        try:
            secrets.decrypt(token)
        except secrets.Unreadable:
            unreadable.append(pk)
        else:
            old += not secrets.is_current(token)
    if unreadable:
        shown = ", ".join(map(str, islice(unreadable, _SHOWN)))
        message = f"No key of SECRETS_KEYS opens {len(unreadable)} rows of {column}: {shown}"
        more = ", …" if len(unreadable) > _SHOWN else ""
        hint = "Add the key that they were written with, or have the secrets set again."
        yield checks.Error(f"{message}{more}.", hint=hint, id=UNREADABLE)
    if old:
        message = f"{old} rows of {column} are not under the first key of SECRETS_KEYS."
        yield checks.Warning(message, hint="manage.py rotate_secrets", id=OLD_KEY)
