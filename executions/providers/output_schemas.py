"""The output schema of a request in its system prompt."""

import orjson

from executions.providers import ModelRequest


def instructed_prompt(request: ModelRequest) -> str:
    """Return the system prompt with the output schema, for a server that does not take it in another way."""
    instruction = (
        "Respond with one JSON object that is valid by this JSON Schema, and with nothing else:\n"
        f"{orjson.dumps(request.output_schema).decode()}"
    )
    return f"{request.system_prompt}\n\n{instruction}".lstrip()
