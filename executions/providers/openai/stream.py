"""Reads the stream of a chat completion: yields its text, and joins its chunks to a completion.

`completions` reads the latter, so the dialects of complete responses are not repeated here.
"""

import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import orjson
from openai.types.chat import ChatCompletion

from executions.providers import ModelResponse
from executions.providers.failures import ReportedError, reported_failure, unreadable_response
from executions.providers.openai.calls import CallStream
from executions.providers.openai.completions import (
    NAME,
    REASONING_FIELDS,
    content_text,
    read_completion,
)
from executions.providers.openai.folding import folded
from executions.providers.openai.reasoning import TextStream
from executions.providers.reading import first_bytes, with_model_errors
from executions.providers.retries import Stream
from tools.outbound.sse import events

_HALF = re.compile("[\ud800-\udfff]")


def read_stream(chunks: Iterator[bytes], *, has_known_end: bool) -> Stream:
    """Yield the text of a completion that arrives in chunks of bytes, and return the response.

    The stream is complete with `[DONE]`. Some servers send none: then each choice needs a finish reason, and
    the body a length or chunked framing (`has_known_end`), so that its end is no lost connection. A server
    that ignores `stream` sends one completion. Raises ModelError.
    """
    return with_model_errors(NAME, _read_stream(chunks, has_known_end=has_known_end))


def _read_stream(chunks: Iterator[bytes], *, has_known_end: bool) -> Stream:
    head = first_bytes(chunks)
    if head.lstrip()[:1] in {b"{", b"["}:
        response = _whole_response(b"".join(chain([head], chunks)))
        if response.text:
            yield response.text
        return response
    stream = _CompletionStream(has_known_end=has_known_end)
    pieces: list[str] = []
    for piece in stream.pieces(chain([head], chunks)):
        pieces.append(piece)
        yield piece
    return read_completion(stream.completion(), "".join(pieces))


def _whole_response(body: bytes) -> ModelResponse:
    content = orjson.loads(body)
    if isinstance(content, list) and content:  # Gemini's errors
        content = content[0]
    if not isinstance(content, dict):
        raise TypeError
    return read_completion(ChatCompletion.construct(**content))


class _CompletionStream:
    """The chunks of a completion so far."""

    def __init__(self, *, has_known_end: bool) -> None:
        self._has_known_end = has_known_end
        self._choices: dict[object, _Choice] = {}
        # The one whose text is streamed: the first with a text.
        self._speaker: _Choice | None = None
        self._usage: object = None
        # Half of a character in UTF-16, of which the other half follows.
        self._half = ""

    def pieces(self, chunks: Iterable[bytes]) -> Iterator[str]:
        """Yield the visible text, in pieces that are not empty."""
        text = TextStream()
        for name, data in events(chunks):
            if data.rstrip() == b"[DONE]":
                break
            if name == b"error":
                raise reported_failure(NAME, 200, ReportedError(_error(data)))
            new_text = self._whole_characters(self._add(_loads(data)))
            if new_text and (piece := text.add(new_text)):
                yield piece
        else:
            if not self._is_finished():
                raise unreadable_response(NAME)
        if piece := text.finish():
            yield piece

    def completion(self) -> ChatCompletion:
        """Return the completion, without the text."""
        choices = [choice.fields() for choice in self._choices.values()]
        return ChatCompletion.construct(choices=choices, usage=self._usage)

    def _is_finished(self) -> bool:
        """Return whether the end of the body is the end of the completion."""
        choices = self._choices.values()
        return self._has_known_end and bool(choices) and all(map(_Choice.is_finished, choices))

    def _add(self, chunk: dict[str, Any]) -> str:
        """Add a chunk, and return the text in it."""
        if error := chunk.get("error") or (chunk.get("object") == "error" and chunk):
            raise reported_failure(NAME, 200, ReportedError(error))
        self._usage = chunk.get("usage") or _groq_usage(chunk) or self._usage
        text = ""
        for fields in chunk.get("choices") or ():
            index = fields.get("index")
            choice = self._choices.get(index)
            if choice is None:
                choice = self._choices[index] = _Choice()
            self._usage = fields.get("usage") or self._usage
            if new_text := choice.add(fields):
                self._speaker = self._speaker or choice
                text += new_text if choice is self._speaker else ""
        return text

    def _whole_characters(self, text: str) -> str:
        """Return a text without halves of characters: joined with the other half, held back or replaced."""
        if not self._half and not _HALF.search(text):
            return text
        text = self._half + text
        self._half = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
        text = text.removesuffix(self._half)
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _loads(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        # For NaN, and for half of a character in UTF-16, which some servers send.
        return json.loads(data)


def _groq_usage(chunk: dict[str, Any]) -> object:
    groq = chunk.get("x_groq")
    return groq.get("usage") if isinstance(groq, dict) else None


def _error(data: bytes) -> object:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return data.decode(errors="replace")


class _Choice:
    """The parts of a choice so far."""

    def __init__(self) -> None:
        self._calls = CallStream()
        self._contents: list[Any] = []
        # By field.
        self._reasoning: dict[str, list[Any]] = {}
        self._has_delta = False
        # That of the first text: `content` or `refusal`.
        self._text_field = ""
        self._reasons: list[str] = []
        self._error: object = None

    def add(self, fields: dict[str, Any]) -> str:
        """Add a part of the choice, and return the text in it."""
        if reason := fields.get("finish_reason"):
            self._reasons.append(str(reason))
        self._error = fields.get("error") or self._error
        delta = fields.get("delta")
        if delta is None and not self._has_delta:
            # Some servers send the only chunk as if it were complete.
            delta = fields.get("message")
        if not delta:
            return ""
        self._has_delta = True
        if calls := delta.get("tool_calls"):
            self._calls.add(calls)
        for name in REASONING_FIELDS & delta.keys():
            if delta[name] is not None:
                self._reasoning.setdefault(name, []).append(delta[name])
        return self._add_text(delta)

    def _add_text(self, delta: dict[str, Any]) -> str:
        if content := delta.get("content"):
            self._contents.append(content)
        for field in ("content", "refusal"):
            if self._text_field in {"", field} and (text := content_text(delta.get(field))):
                self._text_field = field
                return text
        return ""

    def is_finished(self) -> bool:
        """Return whether the choice has a finish reason."""
        return bool(self._reasons)

    def fields(self) -> dict[str, Any]:
        """Return the choice as a complete response contains it, without its text."""
        message: dict[str, Any] = {"role": "assistant", "content": None}
        if calls := self._calls.fields():
            message |= {name: folded(parts) for name, parts in self._reasoning.items()}
            message |= {"content": _content_in_parts(self._contents), "tool_calls": calls}
        fields = {"message": message, "finish_reason": " ".join(self._reasons)}
        return fields | {"error": self._error} if self._error else fields


def _content_in_parts(contents: list[Any]) -> list[Any] | None:
    """Return a content that is not only a text, which the server expects back."""
    if all(isinstance(content, str) for content in contents):
        return None
    parts = [
        [{"type": "text", "text": content}] if isinstance(content, str) else content
        for content in contents
    ]
    found: list[Any] = folded([[part] if isinstance(part, dict) else part for part in parts])
    return found
