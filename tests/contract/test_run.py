"""`POST /api/v1/agents/{id}/run`: the response, the order of the checks, the quota, the headers."""

import json
import math
import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from agents.models import Agent
from executions.models import Execution
from map_project.tenants.models import Tenant
from ratelimit.limiter import Quota, default_limiter
from tests.api import Answer, Api
from tests.conftest import api_of
from tests.contract.shapes import is_time
from tests.contract.writes import RUN
from tests.factories import AgentFactory, TenantFactory, ToolFactory

FIELDS = [
    "execution_id",
    "agent_id",
    "agent_name",
    "model",
    "prompt",
    "response",
    "output",
    "tools_available",
    "executed_at",
    "status",
    "stop_reason",
    "usage",
    "latency_ms",
    "previous_execution_id",
    "conversation_id",
    "dropped_exchanges",
    "request_id",
]
MODELS = ["gpt-4o", "gpt-4", "gpt-3.5-turbo", "claude-3-opus", "claude-3-sonnet"]
HEADERS = {
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "ratelimit-policy",
    "ratelimit",
}


@pytest.fixture
def agent(tenant: Tenant) -> Agent:
    return AgentFactory.create(tenant=tenant, with_tools=2)


def units_taken(tenant: Tenant) -> int:
    """Return the units that the limiter has counted."""
    (usage,) = default_limiter().peek([Quota(tenant.pk, 100, 60)])
    return usage.used


def rate_limit(response: Answer) -> dict[str, int]:
    """Check that both forms of the headers agree and return their values."""
    limit, remaining, reset = (
        int(response.headers[f"x-ratelimit-{name}"]) for name in ("limit", "remaining", "reset")
    )
    policy = re.fullmatch(r'"default";q=(\d+);w=(\d+)', response.headers["ratelimit-policy"])
    state = re.fullmatch(r'"default";r=(\d+);t=(\d+)', response.headers["ratelimit"])
    assert policy
    assert state
    assert (int(policy[1]), int(state[1])) == (limit, remaining)
    window, wait = int(policy[2]), int(state[2])
    assert abs(reset - (time.time() + wait)) < 5
    return {"limit": limit, "remaining": remaining, "window": window, "wait": wait}


class TestResponse:
    def test_the_response_has_all_fields(self, api: Api, agent: Agent) -> None:
        response = api.run(agent.pk, prompt=" What\nis new? ", model="gpt-4")
        assert response.status == 200
        assert list(response.json) == FIELDS
        execution = Execution.objects.get(pk=response.json["execution_id"])
        assert response.json == {
            "execution_id": str(execution.pk),
            "agent_id": str(agent.pk),
            "agent_name": agent.name,
            "model": "gpt-4",
            "prompt": " What\nis new? ",
            "response": execution.response,
            "output": None,
            "tools_available": [tool.name for tool in agent.tools_by_name()],
            "executed_at": response.json["executed_at"],
            "status": "succeeded",
            "stop_reason": "completed",
            "usage": {"input_tokens": None, "output_tokens": None, "cost_usd": None},
            "latency_ms": execution.latency_ms,
            "previous_execution_id": None,
            "conversation_id": None,
            "dropped_exchanges": 0,
            "request_id": response.headers["x-request-id"],
        }
        assert is_time(response.json["executed_at"])

    def test_an_agent_without_tools_has_a_warning(self, api: Api, tenant: Tenant) -> None:
        response = api.run(AgentFactory.create(tenant=tenant).pk)
        assert list(response.json) == [*FIELDS, "warning"]
        assert response.json["tools_available"] == []
        assert re.fullmatch(r"[A-Z].+ no tools.*\.", response.json["warning"])

    def test_the_run_is_stored_before_the_response_is_sent(
        self, live_api: Api, agent: Agent
    ) -> None:
        run = live_api.run(agent.pk).json
        stored = live_api.get(f"history/{run['execution_id']}").json
        expected = {
            "id": run["execution_id"],
            **{key: run[key] for key in ("agent_id", "agent_name", "prompt", "model")},
            "response": run["response"],
            "status": "succeeded",
            "created_at": run["executed_at"],
        }
        assert {name: stored[name] for name in expected} == expected

    def test_the_execution_has_the_request_id_and_the_latency(self, api: Api, agent: Agent) -> None:
        response = api.post(f"agents/{agent.pk}/run", RUN, headers={"X-Request-ID": "my-id.1"})
        execution = Execution.objects.get(pk=response.json["execution_id"])
        assert execution.request_id == "my-id.1" == response.headers["x-request-id"]
        assert execution.tenant_id == agent.tenant_id
        assert (execution.status, execution.error_code) == ("succeeded", "")
        assert 0 <= execution.latency_ms < 5000

    @pytest.mark.parametrize("model", MODELS)
    def test_every_seeded_model_can_be_run(self, api: Api, agent: Agent, model: str) -> None:
        response = api.run(agent.pk, model=model)
        assert (response.status, response.json["model"]) == (200, model)
        assert response.json["response"].startswith("[Mock Response]")

    def test_the_same_prompt_has_the_same_response(self, api: Api, agent: Agent) -> None:
        once, again = (api.run(agent.pk).json for _ in range(2))
        assert once["execution_id"] != again["execution_id"]
        assert once["response"] == again["response"]
        assert api.run(agent.pk, model="gpt-4").json["response"] != once["response"]
        assert api.run(agent.pk, prompt="And now?").json["response"] != once["response"]

    def test_the_response_contains_agent_role_tools_and_prompt(
        self, api: Api, tenant: Tenant
    ) -> None:
        agent = AgentFactory.create(tenant=tenant, name="Ada", role="poet")
        for name in ("b", "a", "B"):
            agent.tools.add(ToolFactory.create(tenant=tenant, name=name))
        response = api.run(agent.pk, prompt="x" * 100).json["response"]
        assert response.startswith("[Mock Response] ")
        assert "Ada" in response
        assert "poet" in response
        assert "B, a, b" in response
        assert '"' + "x" * 100 + '"' in response
        longer = api.run(agent.pk, prompt="\U0001f600" * 101).json["response"]
        assert '"' + "\U0001f600" * 100 + '..."' in longer


class TestBody:
    @pytest.mark.parametrize("character", ["a", "\u00e9", "\U0001f600"])
    def test_a_prompt_is_measured_in_code_points(
        self, api: Api, agent: Agent, character: str
    ) -> None:
        fits = api.run(agent.pk, prompt=character * 10_000)
        assert (fits.status, fits.json["prompt"]) == (200, character * 10_000)
        over = api.run(agent.pk, prompt=character * 10_001)
        assert (over.status, over.error_code) == (400, "PROMPT_TOO_LONG")
        assert over.details == {"provided_length": 10_001, "max_length": 10_000}

    def test_blanks_count_in_a_prompt(self, api: Api, agent: Agent) -> None:
        over = api.run(agent.pk, prompt=f"a{' ' * 10_000}")
        assert over.details == {"provided_length": 10_001, "max_length": 10_000}

    def test_an_unknown_model_is_reported_with_the_allowed_ones(
        self, api: Api, agent: Agent
    ) -> None:
        response = api.run(agent.pk, model="gpt-9")
        assert (response.status, response.error_code) == (400, "INVALID_MODEL")
        assert response.details == {"provided_model": "gpt-9", "allowed_models": MODELS}

    @pytest.mark.parametrize(
        ("body", "error_code"),
        [
            ({"prompt": "x" * 10_001, "model": 1}, "VALIDATION_ERROR"),
            ({"prompt": "x" * 10_001, "model": "none", "extra": 1}, "VALIDATION_ERROR"),
            ({"prompt": " " * 10_001, "model": "none"}, "VALIDATION_ERROR"),
            ({"prompt": "\0" * 10_001, "model": "none"}, "VALIDATION_ERROR"),
            ({"prompt": "x" * 10_001}, "VALIDATION_ERROR"),
            ({"prompt": 1, "model": "none"}, "VALIDATION_ERROR"),
            ({"prompt": "x" * 10_001, "model": "none"}, "PROMPT_TOO_LONG"),
            ({"prompt": "x", "model": "none"}, "INVALID_MODEL"),
        ],
    )
    def test_the_order_of_errors(self, api: Api, agent: Agent, body: Any, error_code: str) -> None:
        response = api.post(f"agents/{agent.pk}/run", body)
        assert (response.status, response.error_code) == (400, error_code)

    def test_an_invalid_run_is_not_stored(self, api: Api, agent: Agent) -> None:
        bodies: list[Any] = [{}, [], {**RUN, "model": "none"}, {**RUN, "prompt": "x" * 10_001}]
        for body in bodies:
            assert api.post(f"agents/{agent.pk}/run", body).status == 400
        assert not Execution.objects.filter(tenant=agent.tenant_id).exists()


Call = Callable[[Api, Agent], Answer]


def _raw(raw: bytes, **headers: str) -> Call:
    return lambda api, agent: api.post(f"agents/{agent.pk}/run", raw=raw, headers=headers)


def _with_method(method: str) -> Call:
    return lambda api, agent: api.call(method, f"agents/{agent.pk}/run", RUN)


def _foreign(api: Api, agent: Agent) -> Answer:
    return api.run(AgentFactory.create(tenant=TenantFactory.create()).pk)


# The call, the status, the error code and the units that it takes.
OUTCOMES: dict[str, tuple[Call, int, str, int]] = {
    "a run": (lambda api, agent: api.run(agent.pk), 200, "", 1),
    "an unknown agent": (
        lambda api, agent: api.run("0197a3c0-5b7e-7c1a-9f60-3a2f4f0f7a11"),
        404,
        "AGENT_NOT_FOUND",
        1,
    ),
    "a malformed id": (lambda api, agent: api.run("no-id"), 404, "AGENT_NOT_FOUND", 1),
    "a malformed id with NUL": (lambda api, agent: api.run("%00"), 404, "AGENT_NOT_FOUND", 1),
    "another tenant's agent": (_foreign, 403, "TENANT_ISOLATION_VIOLATION", 1),
    "invalid JSON": (_raw(b"{"), 400, "MALFORMED_JSON", 1),
    "no body": (_raw(b""), 400, "MALFORMED_JSON", 1),
    "not an object": (_raw(b"[]"), 400, "VALIDATION_ERROR", 1),
    "a wrong field": (_raw(b'{"prompt": 1}'), 400, "VALIDATION_ERROR", 1),
    "a long prompt": (
        lambda api, agent: api.run(agent.pk, prompt="x" * 10_001),
        400,
        "PROMPT_TOO_LONG",
        1,
    ),
    "an unknown model": (lambda api, agent: api.run(agent.pk, model="x"), 400, "INVALID_MODEL", 1),
    "a form": (
        _raw(b"a=b", **{"Content-Type": "application/x-www-form-urlencoded"}),
        415,
        "UNSUPPORTED_MEDIA_TYPE",
        1,
    ),
    "a broken query": (
        lambda api, agent: api.post(f"agents/{agent.pk}/run?a=%ff", RUN),
        400,
        "BAD_REQUEST",
        1,
    ),
    "a body over the limit": (_raw(b" " * (1024 * 1024 + 1)), 413, "REQUEST_TOO_LARGE", 0),
    "an unknown Host": (_raw(b"{}", Host="example.org"), 400, "BAD_REQUEST", 0),
    "no key": (lambda api, agent: Api().run(agent.pk), 401, "MISSING_API_KEY", 0),
    "an invalid key": (lambda api, agent: Api("x").run(agent.pk), 401, "INVALID_API_KEY", 0),
    "GET": (_with_method("GET"), 405, "METHOD_NOT_ALLOWED", 0),
    "PUT": (_with_method("PUT"), 405, "METHOD_NOT_ALLOWED", 0),
    "PATCH": (_with_method("PATCH"), 405, "METHOD_NOT_ALLOWED", 0),
    "DELETE": (_with_method("DELETE"), 405, "METHOD_NOT_ALLOWED", 0),
    "OPTIONS": (_with_method("OPTIONS"), 405, "METHOD_NOT_ALLOWED", 0),
    "an unknown method": (_with_method("RUN"), 405, "METHOD_NOT_ALLOWED", 0),
    "a trailing slash": (
        lambda api, agent: api.post(f"agents/{agent.pk}/run/", RUN),
        404,
        "NOT_FOUND",
        0,
    ),
    "an empty id": (lambda api, agent: api.run(""), 404, "NOT_FOUND", 0),
}


@pytest.mark.parametrize(("call", "status", "error_code", "units"), OUTCOMES.values(), ids=OUTCOMES)
def test_each_outcome_takes_its_units_and_has_the_headers(
    *, api: Api, agent: Agent, call: Call, status: int, error_code: str, units: int
) -> None:
    response = call(api, agent)
    assert response.status == status
    assert status == 200 or response.error_code == error_code
    assert units_taken(agent.tenant) == units
    if units:
        limits = rate_limit(response)
        assert limits == {"limit": 100, "remaining": 99, "window": 60, "wait": 60}
    else:
        assert not HEADERS & response.headers.keys()
    assert Execution.objects.filter(tenant=agent.tenant).count() == (status == 200)


def test_no_other_endpoint_takes_a_unit(api: Api, agent: Agent) -> None:
    api.get(f"agents/{agent.pk}")
    api.patch(f"agents/{agent.pk}", {"role": "new"})
    api.get("history")
    for head in ("agents", f"agents/{agent.pk}", "tools", f"agents/{agent.pk}/run"):
        assert not HEADERS & api.call("HEAD", head).headers.keys()
    assert units_taken(agent.tenant) == 0


class TestQuota:
    LIMIT, WINDOW = 3, 600

    @pytest.fixture
    def tenant(self) -> Tenant:
        return TenantFactory.create(
            rate_limit_requests=self.LIMIT, rate_limit_window_seconds=self.WINDOW
        )

    def test_the_quota_of_the_tenant_applies(self, api: Api, agent: Agent) -> None:
        for remaining in (2, 1, 0):
            response = api.run(agent.pk)
            limits = rate_limit(response)
            assert response.status == 200
            assert limits["limit"] == self.LIMIT
            assert limits["window"] == self.WINDOW
            assert limits["remaining"] == remaining
            assert 1 <= limits["wait"] <= self.WINDOW

    def test_all_keys_of_a_tenant_share_the_quota(self, agent: Agent) -> None:
        for remaining in (2, 1, 0):
            assert rate_limit(api_of(agent.tenant).run(agent.pk))["remaining"] == remaining
        assert api_of(agent.tenant).run(agent.pk).status == 429

    def test_a_denied_call_has_the_time_to_wait(self, api: Api, agent: Agent) -> None:
        for _ in range(self.LIMIT):
            api.run(agent.pk)
        response = api.run(agent.pk)
        assert (response.status, response.error_code) == (429, "RATE_LIMIT_EXCEEDED")
        wait = int(response.headers["retry-after"])
        assert response.details == {
            "limit": self.LIMIT,
            "window_seconds": self.WINDOW,
            "retry_after_seconds": wait,
        }
        assert 1 <= wait <= self.WINDOW
        assert response.json["message"] == (
            f"Rate limit exceeded: 3 runs per 600 seconds. Retry in {wait} seconds."
        )
        limits = rate_limit(response)
        assert limits == {"limit": 3, "remaining": 0, "window": 600, "wait": wait}
        assert Execution.objects.filter(tenant=agent.tenant).count() == self.LIMIT

    def test_the_quota_is_checked_before_agent_and_body(self, api: Api, agent: Agent) -> None:
        for _ in range(self.LIMIT):
            api.run(agent.pk)
        denied = [call for call, status, _, units in OUTCOMES.values() if units]
        for call in denied:
            response = call(api, agent)
            assert (response.status, response.error_code) == (429, "RATE_LIMIT_EXCEEDED")
        for call, status, _, units in OUTCOMES.values():
            assert units or call(api, agent).status == status

    def test_other_tenants_and_endpoints_are_not_limited(
        self, api: Api, other_api: Api, agent: Agent, other_tenant: Tenant
    ) -> None:
        for _ in range(self.LIMIT + 1):
            last = api.run(agent.pk)
        assert last.status == 429
        assert api.get("history").json["total"] == self.LIMIT
        assert other_api.run(AgentFactory.create(tenant=other_tenant).pk).status == 200

    def test_a_raised_quota_applies_at_once_and_keeps_the_usage(
        self, api: Api, agent: Agent
    ) -> None:
        for _ in range(self.LIMIT):
            api.run(agent.pk)
        assert api.run(agent.pk).status == 429
        Tenant.objects.filter(pk=agent.tenant_id).update(rate_limit_requests=self.LIMIT + 2)
        assert rate_limit(_within_a_second(lambda: api.run(agent.pk)))["remaining"] == 1

    def test_a_lowered_quota_keeps_the_usage(self, api: Api, agent: Agent) -> None:
        api.run(agent.pk)
        api.run(agent.pk)
        Tenant.objects.filter(pk=agent.tenant_id).update(rate_limit_requests=1)
        time.sleep(1)
        response = api.run(agent.pk)
        assert (response.status, response.details["limit"]) == (429, 1)
        assert rate_limit(response)["remaining"] == 0

    def test_null_is_the_default_quota(self, api: Api, agent: Agent) -> None:
        Tenant.objects.filter(pk=agent.tenant_id).update(
            rate_limit_requests=None, rate_limit_window_seconds=None
        )
        limits = rate_limit(api.run(agent.pk))
        assert (limits["limit"], limits["window"]) == (100, 60)

    def test_a_call_after_retry_after_is_allowed(self, tenant: Tenant) -> None:
        Tenant.objects.filter(pk=tenant.pk).update(
            rate_limit_requests=1, rate_limit_window_seconds=1
        )
        api, agent = api_of(tenant), AgentFactory.create(tenant=tenant)
        allowed = api.run(agent.pk)
        while (denied := api.run(agent.pk)).status == 200:
            allowed = denied
        assert allowed.status == 200
        time.sleep(int(denied.headers["retry-after"]))
        assert api.run(agent.pk).status == 200


def _within_a_second(call: Callable[[], Answer]) -> Answer:
    deadline = time.monotonic() + 1
    while (response := call()).status == 429 and time.monotonic() < deadline:
        time.sleep(0.1)
    return response


def test_reset_is_the_second_in_which_the_oldest_unit_is_free_again(api: Api, agent: Agent) -> None:
    before = time.time()
    first = api.run(agent.pk)
    after = time.time()
    time.sleep(1.1)
    second = api.run(agent.pk)
    for response in (first, second):
        reset = int(response.headers["x-ratelimit-reset"])
        assert math.ceil(before + 60) - 1 <= reset <= math.ceil(after + 60) + 1
    assert first.headers["x-ratelimit-reset"] == second.headers["x-ratelimit-reset"]
    assert rate_limit(second)["wait"] < 60


def test_errors_contain_neither_a_key_nor_a_traceback(api: Api, agent: Agent) -> None:
    assert api.key
    for call, status, _, _ in OUTCOMES.values():
        text = call(api, agent).content.decode()
        assert status == 200 or api.key not in text
        assert "Traceback" not in text
        assert json.loads(text)
