"""The result of a call as text for the model."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import orjson

from tools.invokers.base import ToolError
from tools.invokers.http_response import MAX_RESULT_BYTES
from tools.invokers.mcp.messages import dumps, unusable
from tools.redaction import SecretRedactor

MAX_NOTE_CHARACTERS = 300


def result_text(result: Mapping[str, Any], redactor: SecretRedactor) -> str:
    """Return the content of a result. Raises ToolError, also for a result that is an error of the tool."""
    kind = result.get("resultType", "complete")
    if kind == "input_required":
        message = (
            "The tool requires input from a user before it can finish, which is not supported."
        )
        raise ToolError("input_required", message)
    if kind != "complete":
        raise unusable("the type of its result is not known")
    text = shortened("\n".join(_parts(result)), redactor)
    if result.get("isError") is True:
        raise ToolError("tool_error", text or "The tool failed without a message.")
    return text or "(The result is empty.)"


def shortened(text: str, redactor: SecretRedactor) -> str:
    """Return at most `MAX_RESULT_BYTES` of a text without secrets, and a note if it is cut."""
    content = text.encode()
    if len(content) <= MAX_RESULT_BYTES:
        return redactor.redact(text)
    first = content[:MAX_RESULT_BYTES].decode(errors="ignore")
    note = f"\n[cut here: only the first {MAX_RESULT_BYTES} bytes of the result are shown]"
    return redactor.redact(text, len(first)) + note


def _parts(result: Mapping[str, Any]) -> Iterator[str]:
    content = result.get("content", [])
    if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
        raise unusable("the content of its result is not a list of objects")
    texts = list(map(_block_text, content))
    yield from texts
    structured = result.get("structuredContent")
    # Servers repeat it as text for older clients, without the object in which SDKs wrap other values.
    values = [structured]
    if isinstance(structured, dict) and structured.keys() == {"result"}:
        values.append(structured["result"])
    if structured is not None and not any(map(partial(_repeats, values), texts)):
        yield dumps(structured).decode()


def _block_text(block: Mapping[str, Any]) -> str:
    match block.get("type"):
        case "text" if isinstance(block.get("text"), str):
            return str(block["text"])
        case "image" | "audio" as kind:
            return _note(f"{kind}, {block.get('mimeType')}: not shown")
        case "resource_link":
            return _note(f"link to a resource: {block.get('uri')} ({block.get('name')})")
        case "resource" if isinstance(block.get("resource"), dict):
            return _resource_text(block["resource"])
    return _note(f"content of the type {block.get('type')}: not shown")


def _resource_text(resource: Mapping[str, Any]) -> str:
    text = resource.get("text")
    if not isinstance(text, str):
        return _note(f"resource {resource.get('uri')}, {resource.get('mimeType')}: not shown")
    return _note(f"resource {resource.get('uri')}") + "\n" + text


def _note(text: str) -> str:
    return f"[{text[:MAX_NOTE_CHARACTERS]}]"


def _repeats(values: list[Any], text: str) -> bool:
    """Return whether the text is one of the values, as it is or as JSON."""
    try:
        return text in values or orjson.loads(text) in values
    except orjson.JSONDecodeError:
        return False
