"""Reads chat completions, in the dialects of the servers that implement OpenAI's API."""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from openai.types.chat import ChatCompletion

from executions.providers import FinishReason, ModelError, ModelResponse, ToolCall
from executions.providers.failures import ReportedError, reported_failure, unreadable_response
from executions.providers.limits import MAX_TOOL_CALLS, bounded, token_count, too_many_calls
from executions.providers.openai.reasoning import without_reasoning

NAME = "openai"

# The reasoning of a message with tool calls. Some servers refuse the next request without it.
REASONING_FIELDS = {
    *("reasoning_content", "reasoning", "reasoning_details", "reasoning_text", "reasoning_opaque"),
    *("thinking_blocks", "provider_specific_fields", "extra_content"),
}

# The words of OpenAI, Azure, Mistral, Gemini, DeepSeek and others, in lower case. Other words mean "stop".
_FINISH_REASONS: Mapping[str, FinishReason] = {
    **dict.fromkeys(
        (
            *("length", "max_tokens", "max_output_tokens", "max_new_tokens", "model_length"),
            *("token_limit", "model_context_window_exceeded"),
        ),
        "length",
    ),
    **dict.fromkeys(
        (
            *("content_filter", "content_filtered", "safety", "image_safety", "recitation"),
            *("blocklist", "prohibited_content", "spii", "refusal", "sensitive", "language"),
            *(
                "image_prohibited_content",
                "image_recitation",
                "guardrail_intervened",
                "error_toxic",
            ),
        ),
        "content_filter",
    ),
}
_FAILURES = {
    *("error", "failed", "network_error", "insufficient_system_resource"),
    *("malformed_function_call", "unexpected_tool_call", "malformed_response"),
    *("missing_thought_signature", "abort", "aborted", "server_error", "cancelled", "timeout"),
}
_TEXT_PARTS = {"text", "output_text", "refusal"}
_CALL_REASONS = {"tool_calls", "function_call", "tool_use"}


def read_completion(completion: object, streamed_text: str | None = None) -> ModelResponse:
    """Return the reply in a completion. Raises ModelError.

    The SDK does not validate the types of its fields. Some servers send text and calls in separate choices:
    they are joined. `streamed_text` is the text of a completion that was streamed.
    """
    if isinstance(completion, list) and completion:  # Gemini's errors
        completion = completion[0]
    try:
        if error := _error_in(completion):
            raise _reported_failure(error)
        if not isinstance(completion, ChatCompletion):
            raise TypeError
        messages = [choice.message for choice in completion.choices]
        text = streamed_text
        if text is None:
            text = without_reasoning(next(filter(None, map(_text, messages)), ""))
        calls = [call for message in messages for call in message.tool_calls or ()]
        reasons = {word for choice in completion.choices for word in _words(choice.finish_reason)}
        if not messages:
            raise LookupError
        errors = [error for choice in completion.choices if (error := _error_in(choice))]
        if errors or reasons & _FAILURES:
            raise _reported_failure(next(iter(errors), None), text)
        if reasons & _CALL_REASONS and not calls:
            raise unreadable_response(NAME, text)
        return ModelResponse(
            text=text,
            tool_calls=_tool_calls(calls),
            finish_reason=_finish_reason(reasons),
            input_tokens=token_count(getattr(completion.usage, "prompt_tokens", None)),
            output_tokens=token_count(getattr(completion.usage, "completion_tokens", None)),
            extra=_first_extra(messages) if calls else {},
        )
    except (TypeError, AttributeError, LookupError, RecursionError):
        raise unreadable_response(NAME) from None


def _reported_failure(error: object, output: str = "") -> ModelError:
    """Return the failure that a response with the status 200 reports."""
    return reported_failure(NAME, 200, ReportedError(error), output)


def _error_in(part: Any) -> Any:
    """Return the error in a completion or a choice, which OpenAI does not define, or None."""
    fields = getattr(part, "model_extra", None) or {}
    # vLLM
    return fields if getattr(part, "object", None) == "error" else fields.get("error")


def _text(message: Any) -> str:
    return content_text(message.content) or content_text(message.refusal)


def content_text(content: object) -> str:
    """Return the text of a content, which some servers send in parts.

    Parts of other types are left out, and invalid ones if there is a valid one. Raises TypeError.
    """
    match content:
        case None:
            return ""
        case str():
            return content
        case list():
            texts = [text for part in content if (text := _part_text(part)) is not None]
            if content and not texts:
                raise TypeError
            return "".join(texts)
        case dict():
            return content_text([content])
    raise TypeError


def _part_text(part: object) -> str | None:
    """Return the text of a part, "" for a part of another type, or None if it is not valid."""
    if not isinstance(part, dict):
        return part if isinstance(part, str) else None
    if str(part.get("type") or "text").lower() not in _TEXT_PARTS:
        return ""
    texts = (part.get(name) for name in ("text", "refusal", "value"))
    return next((_part_text(text) for text in texts if isinstance(text, str | dict)), None)


def _tool_calls(calls: list[Any]) -> tuple[ToolCall, ...]:
    if len(calls) > MAX_TOOL_CALLS:
        raise too_many_calls(NAME, len(calls))
    return tuple(_tool_call(call) for call in calls)


def _tool_call(call: Any) -> ToolCall:
    name, arguments = call.function.name, call.function.arguments
    if not isinstance(name, str):
        raise TypeError
    if not isinstance(arguments, str):
        # Some servers send an object instead of its JSON.
        arguments = json.dumps(arguments or {}, ensure_ascii=False)
    call_id = call.id if isinstance(call.id, str) else ""
    extra = dict(_extra_fields(call))
    if function := _extra_fields(call.function):
        extra["function"] = function
    return ToolCall(call_id, name, arguments, extra=extra)


def _first_extra(messages: Iterable[Any]) -> Mapping[str, Any]:
    """Return the fields of a message with tool calls that the server expects back.

    They are its reasoning, and its content if that is in parts, which may contain reasoning.
    """
    for message in messages:
        fields = dict(_extra_fields(message, REASONING_FIELDS))
        if isinstance(message.content, list):
            fields |= bounded(NAME, {"content": message.content})
        if fields:
            return fields
    return {}


def _extra_fields(part: Any, names: Collection[str] = ()) -> Mapping[str, Any]:
    """Return the fields that OpenAI does not define, or those of `names`."""
    fields = (part.model_extra or {}).items()
    return bounded(
        NAME,
        {
            name: value
            for name, value in fields
            if value is not None and (not names or name in names)
        },
    )


def _words(reason: object) -> set[str]:
    """Return the words of a finish reason in the spelling of the tables.

    `contentFilter` is `content_filter`, and `FinishReason.SAFETY` has the word `safety`.
    """
    words = re.split(r"[.:\s]+", re.sub("(?<=[a-z])(?=[A-Z])", "_", str(reason)))
    return {re.sub("[^a-z0-9]+", "_", word.lower()) for word in words}


def _finish_reason(reasons: set[str]) -> FinishReason:
    known = {_FINISH_REASONS.get(reason, "stop") for reason in reasons}
    return next((reason for reason in ("content_filter", "length") if reason in known), "stop")
