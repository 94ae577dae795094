"""A check of the connection to a language model, for operators."""

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace

from agents.language_models import KnownModel
from agents.models import LanguageModel
from executions.providers import (
    AgentProfile,
    Message,
    ModelError,
    ModelRequest,
    ToolDefinition,
    get_provider,
)
from map_project.api.texts import printable

MAX_SECONDS = 30.0
MAX_SHOWN_CHARACTERS = 200

_PROMPT = "This is a test of the connection. Reply with the word OK."
_TOOL = ToolDefinition(
    "connection_test", "connection_test", "Does nothing.", {"type": "object", "properties": {}}
)


@dataclass(frozen=True, slots=True)
class ConnectionCheck:
    """The result of one request. `text` is for operators: it may contain the provider's message."""

    passed: bool
    text: str


def check_connection(model: LanguageModel) -> Iterator[ConnectionCheck]:
    """Send a request without and one with a tool; stop after the first failure. No request is repeated."""
    known = replace(KnownModel.of(model), max_retries=0)
    for tools in (), (_TOOL,):
        check = _check(known, tools)
        yield check
        if not check.passed:
            return


def _check(model: KnownModel, tools: tuple[ToolDefinition, ...]) -> ConnectionCheck:
    started = time.monotonic()
    request = ModelRequest(
        model=model,
        agent=AgentProfile(uuid.UUID(int=0), "Test", "test", ()),
        system_prompt=_PROMPT,
        messages=(Message("user", _PROMPT),),
        tools=tools,
        max_output_tokens=model.max_output_tokens,
        deadline=started + min(model.timeout_seconds, MAX_SECONDS),
    )
    kind = "Request with a tool" if tools else "Request"
    try:
        response = get_provider(model.provider).complete(request)
    except ModelError as error:
        return ConnectionCheck(False, f"{kind}: failed. {_description(error)}")
    latency_ms = round((time.monotonic() - started) * 1000)
    text = " ".join(printable(response.text).split())[:MAX_SHOWN_CHARACTERS]
    return ConnectionCheck(True, f"{kind}: succeeded in {latency_ms} ms. {text}".rstrip())


def _description(error: ModelError) -> str:
    status = "no response" if error.status is None else f"HTTP {error.status}"
    identifiers = [f"{name} {value}" for name, value in error.identifiers.items()]
    description = f"Reason: {', '.join([error.reason, status, *identifiers])}."
    return f"{description} {printable(error.provider_message)}".rstrip()
