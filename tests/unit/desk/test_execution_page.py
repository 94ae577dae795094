"""The page of an execution and the columns of the history."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from executions.models import Execution, Step
from map_project.tenants.models import Tenant
from tests.api import Api
from tests.factories import AgentFactory, ExecutionFactory


def page(client: Client, execution: Execution, query: str = "") -> str:
    response = client.get(f"/admin/executions/execution/{execution.pk}/change/{query}")
    assert response.status_code == 200
    return response.content.decode()


def step(execution: Execution, position: int, **fields: Any) -> Step:
    defaults = {"kind": "tool", "name": "weather", "input": "{}", "output": "ok", "latency_ms": 5}
    return Step.objects.create(execution=execution, position=position, **{**defaults, **fields})


def test_a_running_run_has_neither_a_latency_of_0_nor_a_response(
    operator: Client, tenant: Tenant
) -> None:
    execution = ExecutionFactory.create(
        agent=AgentFactory.create(tenant=tenant),
        status="running",
        response="",
        latency_ms=0,
        stop_reason="",
        created_at=timezone.now() - timedelta(seconds=90),
    )
    text = page(operator, execution)
    assert "The run is in progress." in text
    assert "No response." not in text
    assert "<dd>0 ms</dd>" not in text
    assert "so far" in text
    listed = operator.get(f"/admin/executions/execution/?tenant__id__exact={tenant.pk}")
    assert "so far" in listed.content.decode()


def test_long_durations_have_larger_units(operator: Client, tenant: Tenant) -> None:
    agent = AgentFactory.create(tenant=tenant)
    execution = ExecutionFactory.create(agent=agent, latency_ms=4_200_000)
    step(execution, 0, latency_ms=70_000)
    text = page(operator, execution)
    assert "<dd>1 h 10 min</dd>" in text
    assert "tool · 1 min 10 s" in text
    Tenant.objects.filter(pk=tenant.pk).update(rate_limit_window_seconds=130)
    for path in (f"?q={tenant.name}", f"{tenant.pk}/change/"):
        shown = operator.get(f"/admin/tenants/tenant/{path}").content.decode()
        assert "per 2 min 10 s" in shown


def test_the_texts_of_steps_are_labelled_and_json_is_indented(
    operator: Client, tenant: Tenant
) -> None:
    execution = ExecutionFactory.create(agent=AgentFactory.create(tenant=tenant))
    calls = [{"id": "c1", "name": "weather", "arguments": '{"city":"Oslo"}'}]
    messages = json.dumps([{"role": "user", "content": "Hello"}])
    step(execution, 0, kind="model", name="m", input=messages, output="", tool_calls=calls)
    step(execution, 1, input='{"city":"Oslo","days":1.00e2}', output="<b>rain</b>")
    text = page(operator, execution)
    for label in ("New messages", "Requested calls", "Arguments", "Result"):
        assert f">{label}</h3>" in text
    assert ">Response</h3>" not in text
    assert "{\n  &quot;city&quot;: &quot;Oslo&quot;,\n  &quot;days&quot;: 1.00e2\n}" in text
    assert "&lt;b&gt;rain&lt;/b&gt;" in text


def test_many_steps_have_pages(operator: Client, tenant: Tenant) -> None:
    execution = ExecutionFactory.create(agent=AgentFactory.create(tenant=tenant))
    Step.objects.bulk_create(
        Step(execution=execution, position=n, kind="tool", name=f"tool-{n}-", latency_ms=1)
        for n in range(150)
    )
    first, second = page(operator, execution), page(operator, execution, "?steps=2")
    assert "tool-99-" in first
    assert "tool-100-" not in first
    assert "tool-100-" in second
    assert "101 to 150 of 150" in second
    for query in ("?steps=x", "?steps=-1", "?steps=99"):
        assert "tool-" in page(operator, execution, query)


def test_the_history_has_key_tokens_and_cost(operator: Client, tenant: Tenant, api: Api) -> None:
    agent = AgentFactory.create(tenant=tenant)
    run = api.run(agent.pk).json
    execution = Execution.objects.get(pk=run["execution_id"])
    assert api.key
    assert execution.key_prefix == api.key[:12]
    Execution.objects.filter(pk=execution.pk).update(
        input_tokens=1234, output_tokens=5, cost_usd="0.0001200"
    )
    listed = operator.get(f"/admin/executions/execution/?tenant__id__exact={tenant.pk}")
    shown = listed.content.decode()
    detail = page(operator, execution)
    assert "0.00012 USD" in detail
    assert "1,234 in, 5 out" in detail
    for text in (execution.key_prefix, "1,234 in", "5 out", "0.00012"):
        assert text in shown
        assert text in detail


@pytest.mark.parametrize("status", ["succeeded", "failed"])
def test_unknown_tokens_are_not_zero(operator: Client, tenant: Tenant, status: str) -> None:
    execution = ExecutionFactory.create(agent=AgentFactory.create(tenant=tenant), status=status)
    assert "<dt>Tokens</dt><dd>-</dd>" in page(operator, execution)


def test_the_errors_of_an_output_are_shown(operator: Client, tenant: Tenant) -> None:
    execution = ExecutionFactory.create(
        agent=AgentFactory.create(tenant=tenant),
        status="failed",
        stop_reason="output_invalid",
        error_code="OUTPUT_INVALID",
        response="{}",
        output_schema={"type": "object", "required": ["city"]},
    )
    assert "&quot;city&quot; is a required property." in page(operator, execution)


def test_the_events_of_a_run_are_streamed_without_compression(
    operator: Client, auditor: Client, tenant: Tenant
) -> None:
    execution = ExecutionFactory.create(agent=AgentFactory.create(tenant=tenant))
    path = f"/admin/executions/execution/{execution.pk}/events/"
    for client in (operator, auditor):
        response = client.get(path, headers={"Accept-Encoding": "gzip"})
        assert response.headers["Content-Type"] == "text/event-stream"
        assert "Content-Encoding" not in response.headers
        text = b"".join(response).decode()
        assert text.startswith("id: 0\nevent: response.created\n")
        assert text.endswith("data: [DONE]\n\n")
    rest = operator.get(path, headers={"Last-Event-ID": "1"})
    assert b"".join(rest).startswith(b"id: 2\n")


def test_who_may_not_see_executions_gets_no_events(operator: Client, tenant: Tenant) -> None:
    execution = ExecutionFactory.create(agent=AgentFactory.create(tenant=tenant))
    path = f"/admin/executions/execution/{execution.pk}/events/"
    assert Client().get(path).status_code == 302
    assert operator.get(path, headers={"Last-Event-ID": "x"}).status_code == 400
    unknown = f"/admin/executions/execution/{tenant.pk}/events/"
    assert operator.get(unknown).status_code == 404
