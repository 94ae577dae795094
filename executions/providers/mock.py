"""The provider `mock`: a deterministic model, and the default, so that MAP works without an account.

The same prompt and model give the same bytes on the same unchanged agent, on every machine and in every
process. No clock, random source or `hash()` is used.

It also calls tools, to make the agent loop usable without a real model: each line `@tool_name {json}` of the
prompt that names a callable tool of the agent becomes a call, in this order. The response then quotes the
results. The prompt is the last message of the user.

With an output schema, the response is a minimal value of it.
"""

import hashlib
import json
import re
import uuid
from collections.abc import Generator, Iterator, Sequence

from executions.providers import Message, ModelRequest, ModelResponse, ToolCall, is_json_object
from executions.providers.instances import minimal_instance

QUOTED_CHARACTERS = 100
QUOTED_RESULT_CHARACTERS = 1000
_WORD = re.compile(r"\S+\s*|\s+")


class Mock:
    """The provider `mock`."""

    def is_local(self, request: ModelRequest) -> bool:
        if request.output_schema is not None:
            # The loop validates the response.
            return False
        # The common cases, without a search through the prompt.
        if not request.tools or "@" not in _turn(request)[0].text:
            return True
        return next(_tool_calls(request), None) is None

    def complete(self, request: ModelRequest) -> ModelResponse:
        prompt, *others = _turn(request)
        if not others and (calls := tuple(_tool_calls(request))):
            return ModelResponse("", calls)
        if request.output_schema is not None:
            value = minimal_instance(request.output_schema)
            return ModelResponse(json.dumps(value, ensure_ascii=False))
        agent = request.agent
        results = [message.text for message in others if message.role == "tool"]
        text = respond(
            agent_id=agent.agent_id,
            agent_name=agent.name,
            role=agent.role,
            tools=agent.tools,
            prompt=prompt.text,
            model=request.model.name,
            results=results,
        )
        return ModelResponse(text)

    def stream(self, request: ModelRequest) -> Generator[str, None, ModelResponse]:
        response = self.complete(request)
        yield from words(response.text)
        return response


def words(text: str) -> list[str]:
    """Return the words of a text, each with the whitespace after it: the pieces that the mock streams."""
    return _WORD.findall(text)


def respond(
    *,
    agent_id: uuid.UUID,
    agent_name: str,
    role: str,
    tools: Sequence[str],
    prompt: str,
    model: str,
    results: Sequence[str] = (),
) -> str:
    """Return the mock's response. Its text is part of the API contract.

    `tools` are the names of the agent's tools in order, `results` the results of the calls. The response ends
    with the first 16 hexadecimal digits of SHA-256 of agent id, model and prompt, one per line. The first two
    cannot contain a line break, so different requests have different inputs.
    """
    tool_list = f"the tools {', '.join(tools)}" if tools else "no tools"
    quoted = _truncate(prompt, QUOTED_CHARACTERS)
    digest = hashlib.sha256(f"{agent_id}\n{model}\n{prompt}".encode()).hexdigest()[:16]
    return (
        f"[Mock Response] Agent {agent_name} ({role}), with {tool_list}, "
        f'was asked on {model}: "{quoted}" {_result_list(results)}[digest {digest}]'
    )


def _turn(request: ModelRequest) -> Sequence[Message]:
    """Return the last message of the user and those after it."""
    prompts = (at for at, message in enumerate(request.messages) if message.role == "user")
    return request.messages[max(prompts, default=0) :]


def _tool_calls(request: ModelRequest) -> Iterator[ToolCall]:
    """Find the calls in the prompt. A name may contain spaces: the longest name that matches is used."""
    tools = {tool.tool_name: tool for tool in request.tools}
    lengths = sorted({len(name) for name in tools}, reverse=True)
    for number, line in enumerate(_turn(request)[0].text.splitlines(), 1):
        text = line.strip()
        if not text.startswith("@"):
            continue
        for length in lengths:
            tool, arguments = tools.get(text[1 : length + 1]), text[length + 1 :].lstrip()
            if tool is not None and is_json_object(arguments):
                yield ToolCall(f"call_{number}", tool.name, arguments)
                break


def _result_list(results: Sequence[str]) -> str:
    if not results:
        return ""
    quoted = (f'"{_truncate(result, QUOTED_RESULT_CHARACTERS)}"' for result in results)
    return f"and was told {', '.join(quoted)} "


def _truncate(text: str, length: int) -> str:
    return text[:length] + ("..." if len(text) > length else "")
