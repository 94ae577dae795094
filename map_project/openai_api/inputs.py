"""The input of a request: the prompt, the messages before it, and the instructions; or decisions."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, NamedTuple, TypeVar

from executions.approvals.serializers import MAX_REASON_CHARACTERS
from map_project.api.errors import ValidationFailed
from map_project.openai_api.errors import CLIENT_TOOLS, UnsupportedParameter

T = TypeVar("T")

_INSTRUCTING = ("system", "developer")
ROLES = (*_INSTRUCTING, "user", "assistant")
_RESULTS = ("tool", "function")
# Parts of a content by type, and the field with their text.
_PARTS = {
    "text": "text",
    "input_text": "text",
    "output_text": "text",
    "refusal": "refusal",
}
# Items of earlier responses that clients send back. The agent's messages say what came of them.
_IGNORED_ITEMS = {"mcp_call", "mcp_list_tools", "mcp_approval_request", "reasoning"}
_DECISION = "mcp_approval_response"
_TEXT_ONLY = "Only text is supported."


class Message(NamedTuple):
    """A message of a request. `path` is its place there, for errors."""

    path: str
    role: str
    text: str


class Decision(NamedTuple):
    """The answer to a request for approval. `path` is its place in the request, for errors."""

    path: str
    request_id: str
    approve: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Input:
    """The last message of the user, those before it as pairs of a role and a text, and the instructions.

    Or decisions, with which a response continues. Then there is no message.
    """

    prompt: str
    messages: tuple[tuple[str, str], ...] = ()
    instructions: tuple[str, ...] = ()
    decisions: tuple[Decision, ...] = ()


def of_items(value: Any) -> Input:
    """Return the `input` of a response: a text, or a list of items. Raises ApiError."""
    if isinstance(value, str):
        return _input([Message("input", "user", _text(value, "input"))], "input")
    # Clients that keep the messages themselves send back the decisions before a message, too.
    items = [*_each(value, "input", _items)]
    last = [*takewhile(lambda item: isinstance(item, Decision), reversed(items))]
    if decisions := [item for item in reversed(last) if isinstance(item, Decision)]:
        return Input("", decisions=tuple(decisions))
    return _input((item for item in items if isinstance(item, Message)), "input")


def of_messages(value: Any) -> Input:
    """Return the `messages` of a chat completion. Raises ApiError."""
    return _input(_each(value, "messages", _chat_messages), "messages")


def _each(value: Any, name: str, read: Callable[[dict[str, Any], str], Iterator[T]]) -> Iterator[T]:
    if not isinstance(value, list):
        raise _invalid(name, "Expected a list.")
    for number, item in enumerate(value):
        path = f"{name}[{number}]"
        if not isinstance(item, dict):
            raise _invalid(path, "Expected an object.")
        yield from read(item, path)


def _items(item: dict[str, Any], path: str) -> Iterator[Message | Decision]:
    """Yield the message or the decision of an item of a response's input."""
    kind = item.get("type", "message")
    if kind == "message":
        yield _message(item, path)
    elif kind == _DECISION:
        yield _decision(item, path)
    elif not isinstance(kind, str):
        raise _invalid(f"{path}.type", "Expected a string.")
    elif kind.startswith("function_call"):
        raise UnsupportedParameter(CLIENT_TOOLS, param=path)
    elif kind not in _IGNORED_ITEMS:
        raise UnsupportedParameter(
            f"Items of the type {kind[:50]} are not supported.", param=f"{path}.type"
        )


def _decision(item: dict[str, Any], path: str) -> Decision:
    approve, reason = item.get("approve"), item.get("reason")
    if not isinstance(approve, bool):
        raise _invalid(f"{path}.approve", "Expected a boolean.")
    request_id = _text(item.get("approval_request_id"), f"{path}.approval_request_id")
    text = "" if reason is None else _text(reason, f"{path}.reason")
    if len(text) > MAX_REASON_CHARACTERS:
        sentence = f"Expected at most {MAX_REASON_CHARACTERS} characters."
        raise _invalid(f"{path}.reason", sentence)
    return Decision(path, request_id, approve, text)


def _chat_messages(item: dict[str, Any], path: str) -> Iterator[Message]:
    """Yield a message of a chat completion.

    Calls of the client's tools, from an earlier part of a chat with another model, become texts.
    """
    if item.get("role") in _RESULTS:
        text = _content(item.get("content"), f"{path}.content")
        yield Message(path, "assistant", f"Result of a tool: {text}" if text.strip() else "")
        return
    if item.get("audio"):
        raise UnsupportedParameter(_TEXT_ONLY, param=f"{path}.audio")
    yield _message(item, path)
    for call in _each(item.get("tool_calls") or [], f"{path}.tool_calls", _called):
        yield call._replace(path=path)


def _called(call: dict[str, Any], path: str) -> Iterator[Message]:
    function = call.get("function")
    if not isinstance(function, dict):
        raise _invalid(f"{path}.function", "Expected an object.")
    name = _text(function.get("name"), f"{path}.function.name")
    arguments = _text(function.get("arguments"), f"{path}.function.arguments")
    yield Message(path, "assistant", f"Called the tool {name} with {arguments}")


def _message(item: dict[str, Any], path: str) -> Message:
    role, content = item.get("role"), item.get("content")
    if role not in ROLES:
        raise _invalid(f"{path}.role", f"Expected one of {', '.join(ROLES)}.")
    if content is None and role == "assistant":
        content = item.get("refusal") or ""
    return Message(path, role, _content(content, f"{path}.content"))


def _content(content: Any, path: str) -> str:
    """Return the text of a content: a text, or a list of parts."""
    if not isinstance(content, list):
        return _text(content, path)
    return "\n".join(_part(part, f"{path}[{number}]") for number, part in enumerate(content))


def _part(part: Any, path: str) -> str:
    if not isinstance(part, dict):
        raise _invalid(path, "Expected an object.")
    kind = part.get("type")
    if not isinstance(kind, str):
        raise _invalid(f"{path}.type", "Expected a string.")
    if kind not in _PARTS:
        raise UnsupportedParameter(
            f"Content of the type {kind[:50]} is not supported. {_TEXT_ONLY}", param=path
        )
    name = _PARTS[kind]
    return _text(part.get(name), f"{path}.{name}")


def _text(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise _invalid(path, "Expected a string.")
    if "\0" in value:
        raise _invalid(path, "NUL (U+0000) is not allowed.")
    return value


def _input(messages: Iterable[Message], name: str) -> Input:
    instructions: list[str] = []
    turns: list[Message] = []
    for message in messages:
        if message.role in _INSTRUCTING:
            instructions.append(message.text)
        else:
            turns.append(message)
    if not turns or turns[-1].role != "user":
        raise _invalid(name, "The last message must have the role user.")
    *earlier, prompt = turns
    if not prompt.text.strip():
        raise _invalid(prompt.path, "The message is blank.")
    return Input(prompt.text, _without_blank(earlier), tuple(filter(str.strip, instructions)))


def _without_blank(messages: Sequence[Message]) -> tuple[tuple[str, str], ...]:
    """Providers reject blank messages, which an answer without text leaves in a history."""
    return tuple((each.role, each.text) for each in messages if each.text.strip())


def _invalid(path: str, sentence: str) -> ValidationFailed:
    return ValidationFailed(fields={path: [sentence]})
