"""Strict serializer fields: JSON types are not coerced, and unknown fields are errors."""

import re
import uuid
from collections.abc import Collection, Container, Iterable, Mapping
from datetime import datetime
from difflib import get_close_matches
from functools import cache
from itertools import islice
from typing import Any, cast

import orjson
from django.db.models import Expression, QuerySet
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.validators import ProhibitSurrogateCharactersValidator

from map_project.api.errors import ValidationFailed
from map_project.api.numbers import inexact_number
from map_project.api.times import parse_time

# A response reports at most this many unknown names of one object: a body of 1 MiB can contain 80,000.
MAX_UNKNOWN_NAMES = 20
# A longer unknown name is not compared with the known ones, which takes time.
MAX_COMPARED_LENGTH = 40
MIN_SIMILARITY = 0.8

_UUID = re.compile("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def parse_uuid(text: object) -> uuid.UUID | None:
    """Return the UUID for text in the 8-4-4-4-12 form, or None."""
    return uuid.UUID(text) if isinstance(text, str) and _UUID.fullmatch(text) else None


def unknown_names(data: Mapping[str, Any], known: Container[str]) -> list[str]:
    """Return the first names in `data` that are not known."""
    return list(islice((name for name in data if name not in known), MAX_UNKNOWN_NAMES))


def similar_name(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that an unknown one probably means, whatever its case."""
    if len(name) > MAX_COMPARED_LENGTH:
        return None
    by_lower_case = {each.lower(): each for each in known}
    similar = get_close_matches(name.lower(), by_lower_case, n=1, cutoff=MIN_SIMILARITY)
    return by_lower_case[similar[0]] if similar else None


def check_object(body: object) -> None:
    """Raise ValidationFailed for a body that is JSON, but not an object.

    DRF would report it under `non_field_errors`, which a client may send as a field name.
    """
    if not isinstance(body, dict):
        raise ValidationFailed("The request body must be a JSON object.", fields={})


class TextField(serializers.CharField):
    """Text stored byte for byte. Rejects other JSON types, NUL, and blank text (unless `allow_blank`)."""

    def __init__(self, *, trim_whitespace: bool = False, **kwargs: Any) -> None:
        super().__init__(trim_whitespace=trim_whitespace, **kwargs)
        # This validator loops over all characters in Python. The JSON parser already rejects surrogates.
        self.validators = [
            validator
            for validator in self.validators
            if not isinstance(validator, ProhibitSurrogateCharactersValidator)
        ]

    def run_validation(self, data: Any = serializers.empty) -> Any:
        if data is not serializers.empty and data is not None:
            if not isinstance(data, str):
                self.fail("invalid")
            if not data.strip() and not self.allow_blank:
                self.fail("blank")
        return super().run_validation(data)


class NameField(TextField):
    """A name of 1 to 100 characters after surrounding whitespace is removed."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trim_whitespace=True, max_length=100, **kwargs)


class TrueFalseField(serializers.BooleanField):
    """A JSON boolean. Rejects strings and numbers."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class IdField(serializers.UUIDField):
    """A UUID in the 8-4-4-4-12 form. Rejects other JSON types and other forms."""

    default_error_messages = {"invalid": "Expected a UUID."}

    def to_internal_value(self, data: Any) -> uuid.UUID:
        pk = parse_uuid(data)
        if pk is None:
            self.fail("invalid", value=data)
        return pk


class TimeField(serializers.DateTimeField):
    """A time with its offset, in RFC 3339. Rejects other JSON types and other forms."""

    default_error_messages = {
        "invalid": "Expected a time in RFC 3339, for example 2027-01-31T12:00:00Z.",
        "overflow": "The time is out of range.",
    }

    def to_internal_value(self, data: Any) -> datetime:
        if not isinstance(data, str):
            self.fail("invalid")
        try:
            return parse_time(data)
        except ValueError:
            self.fail("invalid")
        except OverflowError:
            self.fail("overflow")


class WholeNumberField(serializers.IntegerField):
    """A JSON number without a fraction. Rejects strings and booleans."""

    def to_internal_value(self, data: Any) -> int:
        if type(data) is not int:
            self.fail("invalid")
        return super().to_internal_value(data)


@extend_schema_field({"type": "object", "additionalProperties": True})
class ObjectField(serializers.Field[Any, Any, Any, Any]):
    """A JSON object, returned unchanged. Rejects what cannot be stored as it is."""

    default_error_messages = {
        "not_an_object": "Expected an object.",
        "too_deep": "The object is nested too deeply.",
    }

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            self.fail("not_an_object")
        try:
            orjson.dumps(data)
        except TypeError:
            if number := inexact_number(data):
                raise serializers.ValidationError(str(number)) from None
            self.fail("too_deep")
        return data

    def to_representation(self, value: Any) -> Any:
        return value


@extend_schema_field({"type": "array", "items": {"type": "string", "format": "uuid"}})
class UUIDListField(serializers.Field[Any, Any, Any, Any]):
    """A list of at most `max_items` UUIDs, without duplicates, in the order given."""

    default_error_messages = {
        "not_a_list": "Expected a list of IDs.",
        "not_an_id": "Every item must be a UUID.",
        "too_long": "Expected at most {max_items} ids.",
    }

    def __init__(self, *, max_items: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.max_items = max_items

    def to_internal_value(self, data: Any) -> list[uuid.UUID]:
        if not isinstance(data, list):
            self.fail("not_a_list")
        # A list with duplicates may be longer, but not of any length: each item takes time.
        if len(data) > 10 * self.max_items:
            self.fail("too_long", max_items=self.max_items)
        ids = dict.fromkeys(parse_uuid(item) for item in data)
        if len(ids) > self.max_items:
            self.fail("too_long", max_items=self.max_items)
        if None in ids:
            self.fail("not_an_id")
        return [item for item in ids if item is not None]

    def to_representation(self, value: list[uuid.UUID]) -> list[str]:
        return [str(item) for item in value]


class RowSerializer(serializers.Serializer[Any]):
    """A serializer that passes rows of `.values()` through: columns are JSON values already.

    A list of model instances costs five times as much CPU. `row_expressions` are selected instead of the
    columns of the fields with their names.
    """

    row_expressions: Mapping[str, Expression] = {}

    @classmethod
    @cache
    def columns(cls) -> dict[str, str]:
        """Return the column or annotation of each field that is read."""
        return {
            name: f"{name}_row" if name in cls.row_expressions else str(field.source)
            for name, field in cls().fields.items()
            if not field.write_only
        }

    @classmethod
    def rows(cls, queryset: QuerySet[Any]) -> QuerySet[Any, dict[str, Any]]:
        """Return the rows of a queryset with the columns of this serializer."""
        columns = cls.columns()
        expressions = {columns[name]: value for name, value in cls.row_expressions.items()}
        rows: QuerySet[Any, dict[str, Any]] = queryset.annotate(**expressions).values(
            *columns.values()
        )
        return rows

    def to_representation(self, instance: Any) -> Any:
        if isinstance(instance, dict):
            return {name: instance[column] for name, column in self.columns().items()}
        return super().to_representation(instance)


class StrictSerializer(RowSerializer):
    """A serializer of a request body that rejects unknown and read-only fields by name.

    `hints` are sentences for fields that clients of other APIs send, by name.
    """

    hints: Mapping[str, str] = {}

    def run_validation(self, data: Any = serializers.empty) -> Any:
        check_object(data)
        return super().run_validation(data)

    def to_internal_value(self, data: Any) -> Any:
        writable = {name for name, field in self.fields.items() if not field.read_only}
        errors: dict[str, Any] = {
            name: [self._unknown_field(name, writable)] for name in unknown_names(data, writable)
        }
        try:
            value = super().to_internal_value(data)
        except serializers.ValidationError as error:
            errors |= cast(dict[str, Any], error.detail)
        if errors:
            raise serializers.ValidationError(errors)
        return value

    def _unknown_field(self, name: str, known: Collection[str]) -> str:
        hint = self.hints.get(name, "")
        if not hint and name not in self.fields:
            similar = similar_name(name, known)
            hint = f"Did you mean {similar}?" if similar else ""
        return f"Unknown field. {hint}".rstrip()
