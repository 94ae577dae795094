"""Generated requests to `/v1`: the responses conform to the OpenAPI document, and no input is an error of
the server.
"""

from contextlib import suppress
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from map_project.api.errors import ValidationFailed
from map_project.openai_api import formats, inputs
from map_project.openai_api.errors import UnsupportedParameter
from tests.api import LiveApi
from tests.conftest import api_of
from tests.contract.document import document
from tests.contract.test_openapi import CHECKS, FRAMING_HEADERS, V1
from tests.factories import AgentFactory, ExecutionFactory, TenantFactory

schema = schemathesis.openapi.from_dict(document())

_WORDS = (
    "type",
    "role",
    "content",
    "text",
    "message",
    "user",
    "assistant",
    "tool_calls",
    "function",
)
_TEXTS = st.sampled_from((*_WORDS, "system", "input_text", "function_call", "refusal", "name", ""))
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _TEXTS | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(_TEXTS | st.text(), inner, max_size=4)
    ),
    max_leaves=20,
)
_MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(("user", "assistant", "system", "tool")), "content": _JSON},
        optional={"type": _JSON, "tool_calls": _JSON, "refusal": _JSON},
    ),
    max_size=4,
)


@given(value=_JSON | _MESSAGES)
@example(value=[{"role": "user", "content": "x"}])
def test_each_input_is_read_or_refused(value: Any) -> None:
    for read in (inputs.of_items, inputs.of_messages, formats.of_response, formats.of_chat):
        with suppress(ValidationFailed, UnsupportedParameter):
            found = read(value)
            messages = found.messages if isinstance(found, inputs.Input) else ()
            assert all(role in {"user", "assistant"} and text.strip() for role, text in messages)


# Hypothesis also warns if a thread of the connection pool uses `random` at the same time.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
@pytest.mark.slow
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=str)
@pytest.mark.parametrize("name", V1)
def test_responses_to_generated_requests_conform_to_the_document(
    live_port: int, name: str, mode: GenerationMode
) -> None:
    method, path = name.split(" ")
    tenant = TenantFactory.create(rate_limit_requests=10_000)
    agent = AgentFactory.create(tenant=tenant, model="gpt-4o")
    execution = ExecutionFactory.create(agent=agent)
    api = LiveApi(live_port, api_of(tenant).key)
    conversation = api.post("/v1/conversations", {}).json["id"]
    response = f"resp_{execution.pk.hex}"

    @given(data=st.data())
    @settings(
        max_examples=30,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    def fuzz(data: st.DataObject) -> None:
        case = data.draw(schema[path][method].as_strategy(generation_mode=mode))
        # gunicorn reads these headers. The document cannot contain its response to invalid ones.
        assume(not FRAMING_HEADERS & {header.lower() for header in case.headers or ()})
        # The document has no streams.
        (case.query or {}).pop("stream", None)
        if isinstance(case.body, dict):
            case.body.pop("stream", None)
            if data.draw(st.booleans()):
                case.body["model"] = agent.name
        if data.draw(st.booleans()) and method != "DELETE":
            known = {"name": agent.name, "id": conversation if "conv" in path else response}
            case.path_parameters.update({key: known[key] for key in case.path_parameters})
        found = case.call(
            base_url=f"http://127.0.0.1:{live_port}",
            headers={"Authorization": f"Bearer {api.key}"},
        )
        case.validate_response(found, checks=CHECKS)

    fuzz()
