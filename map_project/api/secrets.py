"""Encryption of stored secrets: tools' secrets and models' credentials.

`SECRETS_KEYS` are Fernet keys. The first one encrypts; all of them decrypt.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import models

NO_KEYS = (
    "SECRETS_KEYS is not set: secrets cannot be stored or read without a key "
    "(create one with `openssl rand -base64 32 | tr +/ -_`)."
)


class Unreadable(Exception):
    """No key of `SECRETS_KEYS` decrypts this token."""


class TokenField(models.TextField[str, str]):
    """A column of tokens made by `encrypt`, "" for none. `rotate_secrets` and the checks find it."""

    def deconstruct(self) -> Any:
        """A plain TextField in migrations: the database column is the same."""
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.TextField", args, kwargs


def token_fields() -> list[TokenField]:
    """The token columns of all installed models."""
    return [
        field
        for model in apps.get_models()
        for field in model._meta.local_fields
        if isinstance(field, TokenField)
    ]


def rows_with_token(field: TokenField) -> "models.QuerySet[Any]":
    """The rows that have a token."""
    return field.model._default_manager.exclude(**{field.name: ""})


def tokens(field: TokenField) -> Iterator[tuple[Any, str]]:
    """Primary key and token of each row that has one."""
    rows = rows_with_token(field).order_by("pk").values_list("pk", field.name)
    return rows.iterator(chunk_size=500)


def encrypt(text: str) -> str:
    """Encrypt with the first key. Raises ImproperlyConfigured if there are no keys."""
    return _fernet().encrypt(text.encode()).decode()


def decrypt(token: str) -> str:
    """Decrypt with any of the keys. Raises Unreadable, and ImproperlyConfigured as `encrypt` does."""
    try:
        return _fernet().decrypt(token).decode()
    except (InvalidToken, UnicodeError):
        raise Unreadable("no key of SECRETS_KEYS decrypts this token") from None


def is_current(token: str) -> bool:
    """Whether the first key decrypts the token."""
    _fernet()
    try:
        Fernet(settings.SECRETS_KEYS[0]).decrypt(token)
    except InvalidToken:
        return False
    return True


def rotated(token: str) -> str:
    """The same text, encrypted with the first key. Raises Unreadable."""
    try:
        return _fernet().rotate(token).decode()
    except InvalidToken:
        raise Unreadable("no key of SECRETS_KEYS decrypts this token") from None


def _fernet() -> MultiFernet:
    if not settings.SECRETS_KEYS:
        raise ImproperlyConfigured(NO_KEYS)
    return _fernet_of(tuple(settings.SECRETS_KEYS))


@cache
def _fernet_of(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])
