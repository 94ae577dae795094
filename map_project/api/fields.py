"""Strict input: a JSON string is a JSON string, unknown fields are errors, all problems at once."""

import re
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.validators import ProhibitSurrogateCharactersValidator

_UUID = re.compile("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def parse_uuid(text: object) -> uuid.UUID | None:
    """The UUID that a text spells in the usual form, 8-4-4-4-12 hexadecimal digits; else None."""
    return uuid.UUID(text) if isinstance(text, str) and _UUID.fullmatch(text) else None


if TYPE_CHECKING:
    _ListOfIds = serializers.Field[list[uuid.UUID], Any, list[str], Any]
else:
    _ListOfIds = serializers.Field


class TextField(serializers.CharField):
    """Text kept byte for byte. Refused: what is no JSON string, NUL, and (unless
    `allow_blank`) what is all blank."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("trim_whitespace", False)
        super().__init__(**kwargs)
        # It looks at each character in turn; our parser takes no lone surrogates.
        self.validators = [
            one
            for one in self.validators
            if not isinstance(one, ProhibitSurrogateCharactersValidator)
        ]

    def run_validation(self, data: Any = serializers.empty) -> Any:
        if data is not serializers.empty and data is not None:
            if not isinstance(data, str):
                self.fail("invalid")
            if not data.strip() and not self.allow_blank:
                self.fail("blank")
        return super().run_validation(data)


class NameField(TextField):
    """The one kind of text that is trimmed, and measured afterwards."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trim_whitespace=True, max_length=100, **kwargs)


@extend_schema_field({"type": "array", "items": {"type": "string", "format": "uuid"}})
class UUIDListField(_ListOfIds):
    """A list of UUIDs in their usual form; duplicates are one, order is kept."""

    default_error_messages = {
        "not_a_list": "Expected a list of ids.",
        "not_an_id": "Every item must be a UUID in its usual form.",
    }

    def to_internal_value(self, data: Any) -> list[uuid.UUID]:
        if not isinstance(data, list):
            self.fail("not_a_list")
        found = dict.fromkeys(parse_uuid(item) for item in data)
        if None in found:
            self.fail("not_an_id")
        return [item for item in found if item is not None]

    def to_representation(self, value: list[uuid.UUID]) -> list[str]:
        return [str(item) for item in value]


class StrictSerializer(serializers.Serializer[Any]):
    """For bodies: a field it does not know is an error under the field's own name."""

    def to_internal_value(self, data: Mapping[str, Any]) -> Any:
        errors: dict[str, Any] = {
            name: ["This field is not known here."] for name in data if name not in self.fields
        }
        value = None
        try:
            value = super().to_internal_value(data)
        except serializers.ValidationError as error:
            errors |= cast(dict[str, Any], error.detail)
        if errors:
            raise serializers.ValidationError(errors)
        return value
