"""Traces of runs, at a collector of OTLP/HTTP."""

import ipaddress
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings as django_settings

from agents.models import Agent, LanguageModel
from executions import tracing
from executions.models import Execution
from map_project.api import secrets
from map_project.tenants.models import Tenant
from tests.api import Answer, Api, LiveApi
from tests.collector import Collector, Span, collecting
from tests.conftest import api_of
from tests.factories import AgentFactory, saved_tool
from tests.live import free_port, serving, working
from tests.stub_model import StubModel, completion, error, streamed
from tests.tool_server import tool_server

# Spans are sent after a tenth of a second, and not after five seconds.
SOON = {"OTEL_BSP_SCHEDULE_DELAY": "100"}
CONTENT = ("gen_ai.system_instructions", "gen_ai.input.messages", "gen_ai.output.messages")
TOOL_CONTENT = ("gen_ai.tool.call.arguments", "gen_ai.tool.call.result")


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


@pytest.fixture
def traced(settings: Any, collector: Collector) -> Iterator[Collector]:
    """Trace the runs of this process."""
    settings.OTEL_EXPORTER_OTLP_ENDPOINT = collector.url
    tracing.begin()
    yield collector
    tracing.end()


@pytest.fixture(scope="module")
def tool_port() -> Iterator[int]:
    with tool_server() as port:
        yield port


@pytest.fixture
def remote(model_server: StubModel, settings: Any) -> Iterator[LanguageModel]:
    """Create a model that the stub serves."""
    settings.TOOL_ALLOWED_NETWORKS = (ipaddress.ip_network("127.0.0.0/8"),)
    model = LanguageModel.objects.create(
        name="remote",
        upstream_name="stub-large",
        provider="openai",
        base_url=model_server.url,
        credential_token=secrets.encrypt("sk-of-the-operator"),
        max_retries=0,
        timeout_seconds=5,
    )
    yield model
    model.delete()


@pytest.fixture
def agent(tenant: Tenant, tool_port: int) -> Agent:
    """Create an agent with a callable tool."""
    config = {
        "method": "GET",
        "url": f"http://127.0.0.1:{tool_port}/echo",
        "headers": {},
        "arguments_in": "query",
        "timeout_seconds": 5,
    }
    tool = saved_tool(
        tenant_id=tenant.pk,
        name="weather now",
        description="d",
        kind="http",
        parameters={"type": "object", "properties": {"city": {"type": "string"}}},
        config=config,
    )
    agent: Agent = AgentFactory.create(tenant=tenant, name="Ada", model="remote")
    agent.tools.add(tool)
    return agent


def run(api: Api, agent: Agent, **fields: Any) -> Answer:
    return api.post(f"agents/{agent.pk}/run", {"prompt": "Rain in Oslo?", **fields})


def spans_of(collector: Collector, execution_id: str) -> list[Span]:
    """Return the spans of an execution, after they were sent."""
    tracing.end()
    return collector.of(execution_id)


def with_a_call(model_server: StubModel) -> None:
    """Let the model call the tool, and then respond."""
    call = completion(None, calls=[("weather_now", '{"city": "Oslo"}')])
    model_server.says(call, completion("It rains."))


def test_a_run_has_spans_for_each_call(
    *, traced: Collector, api: Api, agent: Agent, remote: LanguageModel, model_server: StubModel
) -> None:
    with_a_call(model_server)
    response = run(api, agent)
    assert response.json["response"] == "It rains."
    execution = Execution.objects.get(pk=response.json["execution_id"])
    *calls, whole = spans_of(traced, str(execution.pk))
    assert (whole.name, whole.kind, whole.parent_id) == ("invoke_agent Ada", "INTERNAL", b"")
    assert whole.attributes == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "stub-large",
        "gen_ai.agent.id": str(agent.pk),
        "gen_ai.agent.name": "Ada",
        "gen_ai.agent.version": whole.attributes["gen_ai.agent.version"],
        "gen_ai.usage.input_tokens": 24,
        "gen_ai.usage.output_tokens": 6,
        "map.execution.id": str(execution.pk),
        "map.tenant.id": str(agent.tenant_id),
        "map.request.id": execution.request_id,
        "map.run.status": "succeeded",
        "map.run.stop_reason": "completed",
    }
    assert [(span.name, span.kind) for span in calls] == [
        ("chat stub-large", "CLIENT"),
        ("execute_tool weather now", "INTERNAL"),
        ("chat stub-large", "CLIENT"),
    ]
    assert {span.parent_id for span in calls} == {whole.span_id}
    assert {span.trace_id for span in calls} == {whole.trace_id}
    assert sum(span.seconds for span in calls) <= whole.seconds
    chat, tool, last = calls
    port = int(remote.base_url.rsplit(":", 1)[1].split("/")[0])
    assert chat.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "stub-large",
        "gen_ai.output.type": "text",
        "gen_ai.response.finish_reasons": ["tool_call"],
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 3,
        "server.address": "127.0.0.1",
        "server.port": port,
    }
    assert last.attributes["gen_ai.response.finish_reasons"] == ["stop"]
    assert tool.attributes == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "weather now",
        "gen_ai.tool.type": "extension",
    }
    assert not any(span.is_error for span in (*calls, whole))
    assert whole.resource["service.name"] == "mini-agent-platform"
    assert whole.resource["service.version"]


def test_settings_of_the_request_are_attributes(
    *, traced: Collector, api: Api, agent: Agent, remote: LanguageModel, model_server: StubModel
) -> None:
    model_server.says(completion('{"a": 1}'))
    agent.settings = {"temperature": 0.5, "max_output_tokens": 100}
    agent.version += 1
    agent.save()
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    conversation = api.post("conversations", {}).json["id"]
    response = run(api, agent, output_schema=schema, conversation_id=conversation)
    assert response.status == 200, response.content
    chat, whole = spans_of(traced, response.json["execution_id"])
    assert chat.attributes["gen_ai.request.temperature"] == 0.5
    assert chat.attributes["gen_ai.request.max_tokens"] == 100
    assert chat.attributes["gen_ai.output.type"] == "json"
    assert whole.attributes["gen_ai.conversation.id"] == conversation


@pytest.mark.parametrize("is_captured", [False, True])
def test_texts_are_captured_only_if_the_operator_wants_it(
    *,
    settings: Any,
    traced: Collector,
    api: Api,
    agent: Agent,
    remote: LanguageModel,
    model_server: StubModel,
    is_captured: bool,
) -> None:
    settings.OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT = is_captured
    with_a_call(model_server)
    response = run(api, agent)
    first, tool, last, whole = spans_of(traced, response.json["execution_id"])
    for span, expected in ((first, CONTENT), (last, CONTENT), (tool, TOOL_CONTENT)):
        assert [name for name in expected if name in span.attributes] == (
            [*expected] if is_captured else []
        )
    assert not {*CONTENT, *TOOL_CONTENT} & whole.attributes.keys()
    if not is_captured:
        texts = str([span.attributes for span in (first, tool, last, whole)])
        assert "Oslo" not in texts
        assert "rains" not in texts
        return
    (system,) = json.loads(first.attributes["gen_ai.system_instructions"])
    assert agent.role in system["content"]
    request, call, result = json.loads(last.attributes["gen_ai.input.messages"])
    assert request == {"role": "user", "parts": [{"type": "text", "content": "Rain in Oslo?"}]}
    (part,) = call["parts"]
    assert part["type"] == "tool_call"
    assert part["name"].startswith("weather_now")
    assert json.loads(part["arguments"]) == {"city": "Oslo"}
    assert result["role"] == "tool"
    assert result["parts"][0]["response"] == tool.attributes["gen_ai.tool.call.result"]
    assert json.loads(last.attributes["gen_ai.output.messages"]) == [
        {
            "role": "assistant",
            "parts": [{"type": "text", "content": "It rains."}],
            "finish_reason": "stop",
        }
    ]


def test_long_texts_are_cut(
    *, settings: Any, traced: Collector, api: Api, agent: Agent, remote: LanguageModel
) -> None:
    settings.OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT = True
    settings.MAX_PROMPT_LENGTH = 1_000_000
    previous: dict[str, str] = {}
    for letter in "abcdef":
        body = {"prompt": letter * 100_000, "model": "gpt-4o", **previous}
        response = api.post(f"agents/{agent.pk}/run", body)
        assert response.status == 200, response.content
        previous = {"previous_execution_id": response.json["execution_id"]}
    chat, _ = spans_of(traced, response.json["execution_id"])
    text = chat.attributes["gen_ai.input.messages"]
    assert len(text) <= 64 * 1024
    messages = json.loads(text)
    assert messages[-1]["parts"][0]["content"] == "f" * 16 * 1024
    assert "a" * 1000 not in text


def test_a_failure_of_the_model_has_its_reason_and_no_text(
    *, traced: Collector, api: Api, agent: Agent, remote: LanguageModel, model_server: StubModel
) -> None:
    model_server.says(error(500, "the text of the provider"))
    response = run(api, agent)
    assert response.error_code == "MODEL_ERROR"
    chat, whole = spans_of(traced, response.details["execution_id"])
    assert chat.is_error
    assert whole.is_error
    assert chat.attributes["error.type"] == response.details["reason"]
    assert whole.attributes["error.type"] == response.details["reason"]
    assert whole.attributes["map.run.status"] == "failed"
    for span in (chat, whole):
        assert (span.status_message, span.event_count) == ("", 0)
        assert "provider" not in str([*span.attributes.values()])


def test_a_failure_of_a_tool_has_its_code(
    *, traced: Collector, api: Api, agent: Agent, remote: LanguageModel, model_server: StubModel
) -> None:
    call = completion(None, calls=[("weather_now", '{"city": 1}')])
    model_server.says(call, completion("Sorry."))
    response = run(api, agent)
    _, tool, _, whole = spans_of(traced, response.json["execution_id"])
    assert (tool.is_error, tool.attributes["error.type"]) == (True, "bad_arguments")
    assert not whole.is_error


def test_the_mock_is_traced_too(traced: Collector, api: Api, tenant: Tenant) -> None:
    agent = AgentFactory.create(tenant=tenant, name="Local")
    response = run(api, agent, model="gpt-4o")
    chat, whole = spans_of(traced, response.json["execution_id"])
    assert (chat.name, whole.name) == ("chat gpt-4o", "invoke_agent Local")
    assert "server.address" not in chat.attributes


def test_servers_and_workers_send_spans(
    *, collector: Collector, tenant: Tenant, agent: Agent, remote: LanguageModel,
    model_server: StubModel,
) -> None:  # fmt: skip
    environment = {
        **SOON,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"{collector.url}/",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-token=secret-of-the-collector",
        "OTEL_SERVICE_NAME": "agents-of-the-test",
        "TOOL_ALLOWED_NETWORKS": "127.0.0.0/8",
    }
    key = api_of(tenant).key
    with serving(**environment) as port, working(**environment):
        api = LiveApi(port, key)
        with_a_call(model_server)
        direct = run(api, agent).json["execution_id"]
        collector.wait_for(lambda: len(collector.of(direct)) == 4)
        call = completion(None, calls=[("weather_now", '{"city": "Oslo"}')])
        model_server.says(streamed(call), streamed(completion("It rains.")))
        stream = run(api, agent, stream=True)
        assert b"It rains." in stream.content
        with_a_call(model_server)
        queued = run(api, agent, background=True).json["execution_id"]
        collector.wait_for(lambda: len(collector.of(queued)) == 4)
    streams = Execution.objects.filter(tenant=tenant, is_streamed=True).get()
    collector.wait_for(lambda: len(collector.of(str(streams.pk))) == 4)
    for execution_id in (direct, queued, str(streams.pk)):
        names = [span.name.split()[0] for span in collector.of(execution_id)]
        assert names == ["chat", "execute_tool", "chat", "invoke_agent"]
    path, headers = collector.requests[-1]
    assert (path, headers["x-token"]) == ("/v1/traces", "secret-of-the-collector")
    services = {span.resource["service.name"] for span in collector.of(queued)}
    assert services == {"agents-of-the-test"}
    instances = [
        {span.resource["service.instance.id"] for span in collector.of(execution_id)}
        for execution_id in (direct, queued)
    ]
    assert instances[0] != instances[1]


def test_spans_that_are_left_are_sent_at_the_end_of_a_process(
    collector: Collector, tenant: Tenant
) -> None:
    agent = AgentFactory.create(tenant=tenant)
    late = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "600000",
    }
    with serving(**late) as port, working(**late):
        api = LiveApi(port, api_of(tenant).key)
        direct = run(api, agent, model="gpt-4o").json["execution_id"]
        queued = run(api, agent, model="gpt-4o", background=True).json["execution_id"]
        collector.wait_for(
            lambda: Execution.objects.get(pk=queued).status == Execution.Status.SUCCEEDED
        )
        assert not collector.of(direct) + collector.of(queued)
    assert len(collector.of(direct)) == len(collector.of(queued)) == 2


def test_runs_do_not_wait_for_a_collector(tenant: Tenant) -> None:
    agent = AgentFactory.create(tenant=tenant)
    nowhere = {**SOON, "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}"}
    started = time.monotonic()
    with serving(**nowhere) as port:
        api = LiveApi(port, api_of(tenant).key)
        assert {run(api, agent, model="gpt-4o").status for _ in range(20)} == {200}
    # Also not for long at its end, which waits for five seconds at most.
    assert time.monotonic() - started < 60


_IMPORTS = """
import sys
from django import setup
setup()
from map_project import urls
from executions import background, tracing
from executions.jobs import worker
from executions.providers import get_provider
get_provider("openai")
tracing.begin()
tracing.end()
print(sorted(name for name in sys.modules if name.startswith(
    ("opentelemetry.exporter", "opentelemetry.proto", "opentelemetry.sdk.trace")
)))
"""


def test_without_an_endpoint_nothing_for_traces_is_imported() -> None:
    """redis-py imports what it needs for metrics, if it is installed."""
    result = subprocess.run(
        [sys.executable, "-c", _IMPORTS],
        cwd=django_settings.BASE_DIR,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "map_project.settings"},
        capture_output=True,
        text=True,
    )
    assert result.stdout == "[]\n", result.stderr
