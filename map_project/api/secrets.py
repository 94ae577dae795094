"""What is kept encrypted: tools' secrets, models' credentials. In one place the keys, the columns that
hold such text, and how all of it gets under a new key.

`SECRETS_KEYS` are Fernet keys; the first encrypts, all of them open.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    # Imported where it is needed: most processes never decrypt anything.
    from cryptography.fernet import MultiFernet

NO_KEYS = (
    "SECRETS_KEYS is not set: without a key no secret can be kept or read "
    "(`openssl rand -base64 32 | tr +/ -_` makes one)."
)


class Unreadable(Exception):
    """No key of `SECRETS_KEYS` opens this text."""


def encrypt(text: str) -> str:
    """A token that only the keys open. Raises ImproperlyConfigured where there are no keys."""
    return _box().encrypt(text.encode()).decode()


def decrypt(token: str) -> str:
    """The text that a token holds. Raises Unreadable, and ImproperlyConfigured as above."""
    from cryptography.fernet import InvalidToken

    try:
        return _box().decrypt(token).decode()
    except (InvalidToken, UnicodeError):
        raise Unreadable("no key of SECRETS_KEYS opens this text") from None


def _box() -> "MultiFernet":
    if not settings.SECRETS_KEYS:
        raise ImproperlyConfigured(NO_KEYS)
    return _box_of(tuple(settings.SECRETS_KEYS))


@cache
def _box_of(keys: tuple[str, ...]) -> "MultiFernet":
    from cryptography.fernet import Fernet, MultiFernet

    return MultiFernet([Fernet(key) for key in keys])


@dataclass(frozen=True, slots=True)
class Column:
    """A column of tokens, "" where a row has none. `model` is `app_label.Model`."""

    model: str
    field: str

    def __str__(self) -> str:
        return f"{self.model}.{self.field}"

    def rows(self) -> Any:
        """The rows that hold a token."""
        found: Any = apps.get_model(self.model)._default_manager
        return found.exclude(**{self.field: ""})

    def tokens(self) -> Iterator[tuple[Any, str]]:
        """Primary key and token of each."""
        found: Iterator[tuple[Any, str]] = (
            self.rows().order_by("pk").values_list("pk", self.field).iterator(chunk_size=500)
        )
        return found


# What `rotate_secrets` and the system check go through.
columns: list[Column] = []


def keep(model: str, field: str) -> None:
    """An app says in its `ready()` which of its columns hold tokens."""
    column = Column(model, field)
    if column not in columns:
        columns.append(column)


def is_current(token: str) -> bool:
    """Whether the first key opens it."""
    from cryptography.fernet import Fernet, InvalidToken

    _box()
    try:
        Fernet(settings.SECRETS_KEYS[0]).decrypt(token)
    except InvalidToken:
        return False
    return True


def rotated(token: str) -> str:
    """The same text under the first key. Raises Unreadable."""
    from cryptography.fernet import InvalidToken

    try:
        return _box().rotate(token).decode()
    except InvalidToken:
        raise Unreadable("no key of SECRETS_KEYS opens this text") from None
