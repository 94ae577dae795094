"""The deterministic model: product code, and the default, so that everything works with no account.

The same prompt and model on the same unchanged agent give the same bytes on every machine and in
every process: no clock, no random source, no `hash()`.

It calls tools too, so that the whole loop can be seen without a provider: for each line of the prompt
that reads `@tool_name {json}`, the name being one of the agent's callable tools, it asks for that
call, in their order; its answer then quotes the results.
"""

import hashlib
import uuid
from collections.abc import Iterator, Sequence

import orjson

from executions.providers import Question, Reply, ToolCall

QUOTED_CHARACTERS = 100
QUOTED_RESULT_CHARACTERS = 1000


class Mock:
    """The provider `mock`."""

    def stays_here(self, question: Question) -> bool:
        # Most prompts are told apart by these two.
        if not question.tools or "@" not in question.messages[0].text:
            return True
        return next(_calls(question), None) is None

    def ask(self, question: Question) -> Reply:
        if len(question.messages) == 1 and (calls := tuple(_calls(question))):
            return Reply("", calls)
        asker = question.asker
        results = [message.text for message in question.messages if message.role == "tool"]
        text = respond(
            agent_id=asker.agent_id,
            agent_name=asker.name,
            role=asker.role,
            tools=asker.tools,
            prompt=question.messages[0].text,
            model=question.model.name,
            results=results,
        )
        return Reply(text)


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
    """The mock's answer. `tools` are names in the order in which they are told, `results` what calls
    came to.

    It ends with the first 16 hexadecimal digits of SHA-256 over agent id, model and prompt, a line
    each; neither of the first two can hold a line break, so no two questions look alike.
    """
    quoted = _cut(prompt, QUOTED_CHARACTERS)
    digest = hashlib.sha256(f"{agent_id}\n{model}\n{prompt}".encode()).hexdigest()[:16]
    return (
        f"[Mock Response] Agent {agent_name} ({role}), with {_told(tools)}, "
        f'was asked on {model}: "{quoted}" {_quoted(results)}[digest {digest}]'
    )


def _calls(question: Question) -> Iterator[ToolCall]:
    """What the prompt has it ask for. A name may hold blanks: the longest that fits is meant."""
    tools = {tool.tool_name: tool for tool in question.tools}
    lengths = sorted({len(name) for name in tools}, reverse=True)
    for number, line in enumerate(question.messages[0].text.splitlines(), 1):
        told = line.strip()
        if not told.startswith("@"):
            continue
        for length in lengths:
            tool, arguments = tools.get(told[1 : length + 1]), told[length + 1 :].lstrip()
            if tool is not None and _is_object(arguments):
                yield ToolCall(f"call_{number}", tool.name, arguments)
                break


def _is_object(text: str) -> bool:
    try:
        return text.startswith("{") and isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        return False


def _told(tools: Sequence[str]) -> str:
    return f"the tools {', '.join(tools)}" if tools else "no tools"


def _quoted(results: Sequence[str]) -> str:
    if not results:
        return ""
    cut = (f'"{_cut(result, QUOTED_RESULT_CHARACTERS)}"' for result in results)
    return f"and was told {', '.join(cut)} "


def _cut(text: str, characters: int) -> str:
    return text[:characters] + ("..." if len(text) > characters else "")
