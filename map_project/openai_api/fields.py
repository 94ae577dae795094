"""Fields of the requests at `/v1`."""

import uuid
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from agents.serializers import MAX_OUTPUT_TOKENS, MAX_TEMPERATURE
from executions.responses import id_of
from map_project.api.fields import TrueFalseField, WholeNumberField
from map_project.openai_api import formats, inputs


@extend_schema_field({"type": "number", "minimum": 0, "maximum": MAX_TEMPERATURE})
class TemperatureField(serializers.FloatField):
    """A JSON number. Rejects strings and booleans."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(min_value=0, max_value=MAX_TEMPERATURE, **kwargs)

    def to_internal_value(self, data: Any) -> float:
        if type(data) not in {int, float}:
            self.fail("invalid")
        return super().to_internal_value(data)


class TokensField(WholeNumberField):
    """A maximum of output tokens, or null."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            min_value=1, max_value=MAX_OUTPUT_TOKENS, required=False, allow_null=True, **kwargs
        )


class OptionalFlag(TrueFalseField):
    """A boolean, or null for false."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, allow_null=True, **kwargs)


_TEXT_PARTS = {"type": "array", "minItems": 1, "items": {"type": "object"}}


@extend_schema_field({"oneOf": [{"type": "string", "minLength": 1}, _TEXT_PARTS]})
class InputField(serializers.Field[Any, Any, Any, Any]):
    """The input of a response."""

    def to_internal_value(self, data: Any) -> inputs.Input:
        return inputs.of_items(data)


@extend_schema_field({"type": ["string", "null"]})
class PrefixedIdField(serializers.Field[Any, Any, Any, Any]):
    """The ID of a row as it is at `/v1`, or null."""

    default_error_messages = {"invalid": "Expected an ID with the prefix {prefix}_."}

    def __init__(self, prefix: str, **kwargs: Any) -> None:
        super().__init__(required=False, allow_null=True, **kwargs)
        self.prefix = prefix

    def to_internal_value(self, data: Any) -> uuid.UUID:
        pk = id_of(self.prefix, data) if isinstance(data, str) else None
        if pk is None:
            self.fail("invalid", prefix=self.prefix)
        return pk


@extend_schema_field({"oneOf": [{"type": "string"}, {"type": "object"}, {"type": "null"}]})
class ConversationField(PrefixedIdField):
    """The ID of a conversation, or an object with it."""

    def __init__(self) -> None:
        super().__init__(
            "conv",
            help_text="ID of a conversation, or an object with its `id`. The response continues it. It has "
            "one run at a time. Excludes `previous_response_id`.",
        )

    def to_internal_value(self, data: Any) -> uuid.UUID:
        return super().to_internal_value(data.get("id") if isinstance(data, dict) else data)


@extend_schema_field({"type": "array", "minItems": 1, "items": {"type": "object"}})
class MessagesField(serializers.Field[Any, Any, Any, Any]):
    """The messages of a chat."""

    def to_internal_value(self, data: Any) -> inputs.Input:
        return inputs.of_messages(data)


@extend_schema_field({"type": ["object", "null"]})
class TextFormatField(serializers.Field[Any, Any, Any, Any]):
    """The field `text` of a request for a response."""

    def to_internal_value(self, data: Any) -> formats.Format:
        return formats.of_response(data)


@extend_schema_field({"type": ["object", "null"]})
class ResponseFormatField(serializers.Field[Any, Any, Any, Any]):
    """The `response_format` of a chat completion."""

    def to_internal_value(self, data: Any) -> formats.Format:
        return formats.of_chat(data)
