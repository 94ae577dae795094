"""The audit log: who changed a row, from which values to which. Its entries are those of Django's admin log.

Changes in the admin have a user. The entry of a command names the user of the operating system, and that of
a request of the API its key. Secret values are not stored.
"""

import json
import os
import pwd
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from django import forms
from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User
from django.contrib.contenttypes.models import ContentType
from django.db import models, transaction
from django.db.models.expressions import BaseExpression

from map_project.api.secrets import TokenField

# The user of entries that commands write: it cannot sign in. No form accepts this name.
COMMAND_LINE = "(command line)"
API = "(API)"  # likewise, of entries of requests
MAX_VALUE_LENGTH = 1_000
# How much of a long value is shown before its first difference.
_CONTEXT_LENGTH = 50
# The form of a failed sign-in (`get_data`, `post_data`) can contain a password.
_SECRET_NAMES = {"password", "key_hash", "get_data", "post_data"}


@dataclass(frozen=True)
class KeyActor:
    """An API key that changes a row, by its prefix."""

    prefix: str


Actor = AbstractBaseUser | AnonymousUser | KeyActor | None


def record(row: models.Model, message: str, *, user: Actor = None, flag: int = CHANGE) -> None:
    """Write an entry about a row. Without a user, a command has changed it."""
    LogEntry.objects.log_actions(
        _user_id(user), [row], flag, change_message=_message(message, user), single_object=True
    )


def record_many(model: type[models.Model], message: str) -> None:
    """Write one entry for a command that changed many rows of a model."""
    LogEntry.objects.create(
        user_id=_user_id(None),
        content_type=ContentType.objects.get_for_model(model),
        object_repr=str(model._meta.verbose_name_plural),
        action_flag=CHANGE,
        change_message=_message(message, None),
    )


def record_added(row: models.Model) -> None:
    """Write an entry about a row that a command has added, with its values."""
    record(row, changes({}, values(row), secret=secret_fields(row)), flag=ADDITION)


@transaction.atomic
def save(row: models.Model) -> None:
    """Save a row in a command, and write an entry with the values that it changes."""
    stored = type(row)._default_manager.select_for_update(no_key=True).filter(pk=row.pk).first()
    # Before `save()`, which replaces the old values that the database sets.
    message = changes(values(stored) if stored else {}, values(row), secret=secret_fields(row))
    row.save()
    if message:
        record(row, message, flag=CHANGE if stored else ADDITION)


def values(row: models.Model) -> dict[str, Any]:
    """The values of the row's fields, without its ID and those that the database will set."""
    found = {
        field.name: field.value_from_object(row)
        for field in row._meta.concrete_fields
        if not field.primary_key
    }
    if not row._state.adding:
        for relation in row._meta.many_to_many:
            found[relation.name] = sorted(map(str, getattr(row, relation.name).all()))
    return {name: value for name, value in found.items() if not isinstance(value, BaseExpression)}


def secret_fields(row: models.Model) -> set[str]:
    """The names of fields whose values are not stored in the log."""
    return {
        field.name
        for field in row._meta.concrete_fields
        if isinstance(field, TokenField) or field.name in _SECRET_NAMES
    }


def changes(
    before: Mapping[str, Any], after: Mapping[str, Any], *, secret: Collection[str] = ()
) -> str:
    """The fields that differ: `name: "a" → "b"; is_active: true → false`.

    Without `before`, the row is new or deleted, and the text has its values: `name: "a"; is_active: true`.
    """
    if not before:
        names = [name for name, value in after.items() if not _is_empty(value)]
        return "; ".join(_value(name, after[name], is_secret=name in secret) for name in names)
    names = [name for name, value in after.items() if before[name] != value]
    return "; ".join(
        _change(name, before[name], after[name], is_secret=name in secret) for name in names
    )


def form_changes(form: forms.BaseForm, *, add: bool) -> str:
    """The changes that a form of the admin made."""
    after = {
        name: _form_value(form.fields.get(name), value) for name, value in form.cleaned_data.items()
    }
    # A form that sets a password reports it under a name that is no field.
    secret = {
        name
        for name in [*after, *form.changed_data]
        if name not in form.fields or isinstance(form.fields[name].widget, forms.PasswordInput)
    }
    if add:
        return changes({}, after, secret=secret)
    return "; ".join(
        _change(name, _initial(form, name), after.get(name), is_secret=name in secret)
        for name in form.changed_data
    )


def _initial(form: forms.BaseForm, name: str) -> Any:
    field = form.fields.get(name)
    return field and _form_value(field, form.get_initial_for_field(field, name))


def _form_value(field: forms.Field | None, value: Any) -> Any:
    """The value as the log shows it: rows by their names."""
    if not isinstance(field, forms.ModelChoiceField) or value is None:
        return value
    rows = value if isinstance(value, Iterable) and not isinstance(value, str) else [value]
    keys = [getattr(row, "pk", row) for row in rows]
    names = sorted(map(str, field.queryset.filter(pk__in=keys)))  # type: ignore[union-attr]
    return names if isinstance(field, forms.ModelMultipleChoiceField) else "".join(names)


def _is_empty(value: Any) -> bool:
    return value is None or value is False or value in ("", [], {})


def _value(name: str, value: Any, *, is_secret: bool) -> str:
    return f"{name}: set" if is_secret else f"{name}: {_text(value)}"


def _change(name: str, before: Any, after: Any, *, is_secret: bool) -> str:
    if is_secret:
        return f"{name}: changed"
    old, new, note = _json(before), _json(after), ""
    is_long = max(len(old), len(new)) > MAX_VALUE_LENGTH
    if is_long and isinstance(before, list) and isinstance(after, list):
        old = _json([entry for entry in before if entry not in after])
        new = _json([entry for entry in after if entry not in before])
        note = " (only the entries that differ)"
    equal = takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False))
    start = max(0, len([*equal]) - _CONTEXT_LENGTH)
    return f"{name}: {_excerpt(old, start)} → {_excerpt(new, start)}{note}"


def _text(value: Any) -> str:
    return _excerpt(_json(value))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _excerpt(text: str, start: int = 0) -> str:
    """At most `MAX_VALUE_LENGTH` characters of a long text, from the given position."""
    if len(text) <= MAX_VALUE_LENGTH:
        return text
    excerpt = text[start : start + MAX_VALUE_LENGTH]
    return f"{'…' if start else ''}{excerpt}… ({len(text):,} characters)"


def _user_id(user: Actor) -> int:
    if user is None or isinstance(user, KeyActor):
        user, _ = User.objects.get_or_create(
            username=API if user else COMMAND_LINE,
            defaults={"is_active": False, "password": make_password(None)},
        )
    assert user.pk is not None  # noqa: S101  `admin_view` requires a signed-in user
    return int(user.pk)


def _message(message: str, user: Actor) -> str:
    if isinstance(user, KeyActor):
        return f"By the API key {user.prefix}: {message}"
    return message if user else f"By the operating system's user {_system_user()}: {message}"


def _system_user() -> str:
    """The user that runs this process. In a container it may have no name."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
