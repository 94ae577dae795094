"""Serializers of requests. Unlike those of `/api/v1`, they ignore unknown fields."""

from collections.abc import Mapping, Sequence
from typing import Any

from rest_framework import serializers

from executions.options import RunOptions
from executions.serializers import MetadataField
from map_project.api.fields import TextField, check_object
from map_project.openai_api.errors import CLIENT_TOOLS, UnsupportedParameter
from map_project.openai_api.fields import (
    ConversationField,
    InputField,
    MessagesField,
    OptionalFlag,
    PrefixedIdField,
    ResponseFormatField,
    TemperatureField,
    TextFormatField,
    TokensField,
)
from map_project.openai_api.formats import Format
from map_project.openai_api.inputs import Decision

# The values of a field that ask for nothing, in addition to null, and the error for any other one.
Refusal = tuple[Sequence[Any], str]

_LOGPROBS = "Log probabilities are not supported."
_SAMPLING = "Of the parameters of sampling, only temperature is supported."
_REFUSED: Mapping[str, Refusal] = {
    "tools": ([[]], CLIENT_TOOLS),
    "tool_choice": (["auto"], CLIENT_TOOLS),
    "top_logprobs": ([0], _LOGPROBS),
    "top_p": ([1], _SAMPLING),
    "frequency_penalty": ([0], _SAMPLING),
    "presence_penalty": ([0], _SAMPLING),
    "moderation": ([], "Moderation is not supported."),
}


class IgnoringSerializer(serializers.Serializer[Any]):
    """Ignores unknown fields. `refused` has the fields that cannot be honoured."""

    refused: Mapping[str, Refusal]

    def run_validation(self, data: Any = serializers.empty) -> Any:
        check_object(data)
        for name, (allowed, message) in self.refused.items():
            if data.get(name) is not None and data[name] not in allowed:
                raise UnsupportedParameter(message, param=name)
        return super().run_validation(data)


class NewRunSerializer(IgnoringSerializer):
    """What both kinds of requests for runs have."""

    model = TextField(
        help_text="Name of the agent, or `agent:` and its ID. The agent must have a default model."
    )
    stream = OptionalFlag(help_text="Whether to respond with events, as they happen.")
    temperature = TemperatureField(
        required=False,
        allow_null=True,
        help_text="Sampling temperature. Defaults to that of the agent.",
    )
    metadata = MetadataField(
        required=False,
        allow_null=True,
        help_text="Up to 16 pairs of a key (1 to 64 characters) and a text (at most 512).",
    )

    def run_options(self) -> RunOptions:
        """Return the options of the run."""
        raise NotImplementedError

    @property
    def prompt(self) -> str:
        """The last message of the user."""
        raise NotImplementedError

    @property
    def format(self) -> Format:
        """The form of the text."""
        raise NotImplementedError

    @property
    def decisions(self) -> Sequence[Decision]:
        """The answers to requests for approval, with which a response continues."""
        return ()


class NewResponseSerializer(NewRunSerializer):
    """The request for a response."""

    refused = {
        **_REFUSED,
        "prompt": ([], "Stored prompts are not supported."),
        "max_tool_calls": ([], "Set `max_tool_calls` of the agent."),
    }

    input = InputField(
        help_text="The prompt, or a list of messages. The last message must be of the user. Messages of the "
        "system and of developers are added to the agent's instructions. Or items of the type "
        "`mcp_approval_response`: the answers to requests for approval, with which a response continues."
    )
    instructions = TextField(
        required=False,
        allow_null=True,
        allow_blank=True,
        help_text="Added to the agent's instructions.",
    )
    previous_response_id = PrefixedIdField(
        "resp",
        help_text="Continue this response: its messages, and those before it, precede the input.",
    )
    conversation = ConversationField()
    text = TextFormatField(
        required=False,
        allow_null=True,
        help_text="`format`: the form of the text, of the type `text`, `json_object` or `json_schema` (with "
        "`name` and `schema`). Defaults to the output schema of the agent.",
    )
    background = OptionalFlag(help_text="Whether a worker runs the agent.")
    max_output_tokens = TokensField(help_text="Maximum tokens of each response of the model.")
    truncation = serializers.ChoiceField(
        choices=["auto", "disabled"],
        required=False,
        allow_null=True,
        help_text="What to do with a context that is too long: `auto` drops the oldest exchanges.",
    )

    def run_validation(self, data: Any = serializers.empty) -> Any:
        if isinstance(data, dict) and "message.output_text.logprobs" in _list(data.get("include")):
            raise UnsupportedParameter(_LOGPROBS, param="include")
        return super().run_validation(data)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs.get("previous_response_id") and attrs.get("conversation"):
            raise serializers.ValidationError({"conversation": ["Excludes previous_response_id."]})
        return attrs

    def run_options(self) -> RunOptions:
        body, found = self.validated_data, self.validated_data["input"]
        return RunOptions(
            instructions=_joined(body.get("instructions"), *found.instructions),
            temperature=body.get("temperature"),
            max_output_tokens=body.get("max_output_tokens"),
            messages=found.messages,
            model=body["model"],
            schema_name=self.format.name,
            truncation=body.get("truncation") or "",
        )

    @property
    def prompt(self) -> str:
        prompt: str = self.validated_data["input"].prompt
        return prompt

    @property
    def decisions(self) -> Sequence[Decision]:
        decisions: Sequence[Decision] = self.validated_data["input"].decisions
        return decisions

    @property
    def format(self) -> Format:
        return self.validated_data.get("text") or Format()


class NewConversationSerializer(IgnoringSerializer):
    """The request for a conversation."""

    refused = {"items": ([[]], "Items cannot be added: a conversation has the items of its runs.")}

    metadata = MetadataField(
        required=False,
        allow_null=True,
        help_text="Up to 16 pairs of a key (1 to 64 characters) and a text (at most 512).",
    )


class StreamOptionsSerializer(serializers.Serializer[Any]):
    """Options of a stream."""

    include_usage = OptionalFlag(
        help_text="Whether the last chunk has the tokens of the whole run, and no choices."
    )


class NewChatCompletionSerializer(NewRunSerializer):
    """The request for a chat completion."""

    refused = {
        **_REFUSED,
        "n": ([1], "Only one choice is supported."),
        "functions": ([[]], CLIENT_TOOLS),
        "function_call": (["auto"], CLIENT_TOOLS),
        "logprobs": ([False], _LOGPROBS),
        "stop": ([[]], "Stop sequences are not supported."),
        "logit_bias": ([{}], _SAMPLING),
        "modalities": ([["text"]], "Only text is supported."),
        "audio": ([], "Only text is supported."),
        "web_search_options": ([], CLIENT_TOOLS),
    }

    messages = MessagesField(
        help_text="The messages of the chat. The last message must be of the user. Messages of the system "
        "and of developers are added to the agent's instructions."
    )
    response_format = ResponseFormatField(
        required=False,
        allow_null=True,
        help_text="The form of the text, of the type `text`, `json_object` or `json_schema` (with `name` and "
        "`schema` in `json_schema`). Defaults to the output schema of the agent.",
    )
    max_completion_tokens = TokensField(help_text="Maximum tokens of each response of the model.")
    max_tokens = TokensField(help_text="As `max_completion_tokens`.")
    stream_options = StreamOptionsSerializer(
        required=False, allow_null=True, help_text="Options of a stream."
    )

    def run_options(self) -> RunOptions:
        body, found = self.validated_data, self.validated_data["messages"]
        return RunOptions(
            instructions=_joined(*found.instructions),
            temperature=body.get("temperature"),
            max_output_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
            messages=found.messages,
            model=body["model"],
            schema_name=self.format.name,
        )

    @property
    def prompt(self) -> str:
        prompt: str = self.validated_data["messages"].prompt
        return prompt

    @property
    def format(self) -> Format:
        return self.validated_data.get("response_format") or Format()

    @property
    def includes_usage(self) -> bool:
        """Whether a stream ends with its usage."""
        options = self.validated_data.get("stream_options") or {}
        return bool(options.get("include_usage"))


def _joined(*texts: str | None) -> str:
    return "\n\n".join(text for text in texts if text and text.strip())


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
