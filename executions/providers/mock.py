"""The deterministic model: product code, and the default, so that everything works with no account.

The same prompt and model on the same unchanged agent give the same bytes on every machine and in
every process: no clock, no random source, no `hash()`.
"""

import hashlib
import uuid
from collections.abc import Sequence

QUOTED_CHARACTERS = 100


class Mock:
    """The provider `mock`."""


def respond(
    *,
    agent_id: uuid.UUID,
    agent_name: str,
    role: str,
    tools: Sequence[str],
    prompt: str,
    model: str,
) -> str:
    """The mock's answer. `tools` are names in the order in which they are told.

    It ends with the first 16 hexadecimal digits of SHA-256 over agent id, model and prompt, a line
    each; neither of the first two can hold a line break, so no two questions look alike.
    """
    quoted = prompt[:QUOTED_CHARACTERS] + ("..." if len(prompt) > QUOTED_CHARACTERS else "")
    digest = hashlib.sha256(f"{agent_id}\n{model}\n{prompt}".encode()).hexdigest()[:16]
    return (
        f"[Mock Response] Agent {agent_name} ({role}), with {_told(tools)}, "
        f'was asked on {model}: "{quoted}" [digest {digest}]'
    )


def _told(tools: Sequence[str]) -> str:
    return f"the tools {', '.join(tools)}" if tools else "no tools"
