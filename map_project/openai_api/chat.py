"""Chat completions: the other form of a Response object and of its events."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from executions.events.items import Event
from executions.events.reading import IDLE_SECONDS
from executions.events.stream import KEEP_ALIVE, Framing
from executions.output import without_code_block
from executions.responses import APPROVAL_REQUEST
from map_project.openai_api.errors import ApprovalRequired, RunCancelled, error_object

# Between the texts of two responses of the model, of which the first one also requests tool calls.
_SEPARATOR = "\n\n"


def completion(response: Mapping[str, Any]) -> dict[str, Any]:
    """Return a Response object as a chat completion. Raises RunCancelled and ApprovalRequired."""
    if response["status"] == "cancelled":
        raise RunCancelled
    if _is_waiting(response):
        raise ApprovalRequired(response_id=response["id"])
    message: dict[str, Any] = {
        "role": "assistant",
        "content": _text(response),
        "refusal": None,
        "annotations": [],
    }
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": _finish_reason(response),
    }
    return {
        **_head(response, "chat.completion"),
        "choices": [choice],
        "usage": _usage(response["usage"]),
    }


def chunk_frames(*, includes_usage: bool) -> Framing:
    """Return a function that returns the frames of an event in a chat completion.

    Many events have none, for instance those of tool calls. If that lasts long, a comment is sent.
    """
    chunks, sent_at = Chunks(includes_usage=includes_usage), time.monotonic()

    def frames(event: Event) -> str:
        nonlocal sent_at
        text = "".join(f"data: {orjson.dumps(chunk).decode()}\n\n" for chunk in chunks.of(event))
        if not text and time.monotonic() - sent_at >= IDLE_SECONDS:
            text = KEEP_ALIVE
        if text:
            sent_at = time.monotonic()
        return text

    return frames


@dataclass(slots=True)
class Chunks:
    """Makes the chunks of a completion from the events of its run.

    With an output schema, the content is the last text alone, which is known at the end.
    """

    includes_usage: bool
    _first: dict[str, Any] = field(default_factory=dict)
    _is_whole: bool = False
    _has_text: bool = False
    _separator: str = ""

    def of(self, event: Event) -> Iterator[dict[str, Any]]:
        """Yield the chunks of an event. Most events have none."""
        match event.type:
            case "response.created":
                response = orjson.loads(event.data)["response"]
                self._first = _head(response, "chat.completion.chunk")
                self._is_whole = _has_schema(response)
                yield self._chunk({"role": "assistant", "content": "", "refusal": None})
            case "response.output_item.added" if self._has_text:
                self._separator = _SEPARATOR
            case "response.output_text.delta" if not self._is_whole:
                text = self._separator + orjson.loads(event.data)["delta"]
                self._has_text, self._separator = True, ""
                yield self._chunk({"content": text})
            case "error":
                error = orjson.loads(event.data)
                yield error_object(502, message=error["message"], code=error["code"])
            case "response.cancelled":
                cancelled = RunCancelled()
                code = cancelled.error_code.lower()
                yield error_object(409, message=cancelled.message, code=code)
            case "response.completed" | "response.incomplete":
                yield from self._end(orjson.loads(event.data)["response"])

    def _end(self, response: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        if _is_waiting(response):
            waiting = ApprovalRequired()
            code = waiting.error_code.lower()
            yield error_object(409, message=waiting.message, code=code)
            return
        if self._is_whole:
            yield self._chunk({"content": _text(response)})
        yield self._chunk({}, finish_reason=_finish_reason(response))
        if self.includes_usage:
            yield {**self._first, "choices": [], "usage": _usage(response["usage"])}

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        chunk = {**self._first, "choices": [choice]}
        return {**chunk, "usage": None} if self.includes_usage else chunk


def _head(response: Mapping[str, Any], kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{response['id'].removeprefix('resp_')}",
        "object": kind,
        "created": response["created_at"],
        "model": response["model"],
    }


def _is_waiting(response: Mapping[str, Any]) -> bool:
    """Return whether the run waits for approvals: its last items are requests."""
    output = response["output"]
    return bool(output) and output[-1]["type"] == APPROVAL_REQUEST


def _has_schema(response: Mapping[str, Any]) -> bool:
    return bool(response["text"]["format"]["type"] != "text")


def _text(response: Mapping[str, Any]) -> str:
    """Return the texts of the run. With an output schema, only the last one meets it: its JSON alone."""
    messages = [item for item in response["output"] if item["type"] == "message"]
    texts = [part["text"] for item in messages for part in item["content"] if part["text"]]
    if _has_schema(response):
        return without_code_block(texts[-1]) if texts else ""
    return _SEPARATOR.join(texts)


def _finish_reason(response: Mapping[str, Any]) -> str:
    if response["status"] == "completed":
        return "stop"
    reason = response["incomplete_details"]["reason"]
    # Of the values that clients know, this is the one of a text that a limit has cut.
    return "content_filter" if reason == "content_filter" else "length"


def _usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "prompt_tokens": usage["input_tokens"],
        "completion_tokens": usage["output_tokens"],
        "total_tokens": usage["total_tokens"],
        "prompt_tokens_details": {"cached_tokens": usage["input_tokens_details"]["cached_tokens"]},
        "completion_tokens_details": {
            "reasoning_tokens": usage["output_tokens_details"]["reasoning_tokens"]
        },
    }
