"""`POST /api/v1/agents/{id}/run`: the answer, the order of the checks, the units, the headers."""

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
    "tools_available",
    "executed_at",
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
    """What the limiter has counted."""
    (usage,) = default_limiter().peek([Quota(tenant.pk, 100, 60)])
    return usage.used


def told_limits(answer: Answer) -> dict[str, int]:
    """The headers, once both forms are seen to agree."""
    limit, remaining, reset = (
        int(answer.headers[f"x-ratelimit-{name}"]) for name in ("limit", "remaining", "reset")
    )
    policy = re.fullmatch(r'"default";q=(\d+);w=(\d+)', answer.headers["ratelimit-policy"])
    now = re.fullmatch(r'"default";r=(\d+);t=(\d+)', answer.headers["ratelimit"])
    assert policy
    assert now
    assert (int(policy[1]), int(now[1])) == (limit, remaining)
    window, wait = int(policy[2]), int(now[2])
    assert abs(reset - (time.time() + wait)) < 5
    return {"limit": limit, "remaining": remaining, "window": window, "wait": wait}


class TestAnswer:
    def test_a_run_is_answered_whole(self, api: Api, agent: Agent) -> None:
        answer = api.run(agent.pk, prompt=" What\nis new? ", model="gpt-4")
        assert answer.status == 200
        assert list(answer.json) == FIELDS
        execution = Execution.objects.get(pk=answer.json["execution_id"])
        assert answer.json == {
            "execution_id": str(execution.pk),
            "agent_id": str(agent.pk),
            "agent_name": agent.name,
            "model": "gpt-4",
            "prompt": " What\nis new? ",
            "response": execution.response,
            "tools_available": [tool.name for tool in agent.tools_by_name()],
            "executed_at": answer.json["executed_at"],
        }
        assert is_time(answer.json["executed_at"])

    def test_an_agent_without_tools_is_warned_of(self, api: Api, tenant: Tenant) -> None:
        answer = api.run(AgentFactory.create(tenant=tenant).pk)
        assert list(answer.json) == [*FIELDS, "warning"]
        assert answer.json["tools_available"] == []
        assert re.fullmatch(r"[A-Z].+ no tools.*\.", answer.json["warning"])

    def test_it_is_in_the_history_by_the_time_it_is_answered(
        self, live_api: Api, agent: Agent
    ) -> None:
        answer = live_api.run(agent.pk).json
        found = live_api.get(f"history/{answer['execution_id']}").json
        expected = {
            "id": answer["execution_id"],
            **{key: answer[key] for key in ("agent_id", "agent_name", "prompt", "model")},
            "response": answer["response"],
            "status": "succeeded",
            "created_at": answer["executed_at"],
        }
        assert {name: found[name] for name in expected} == expected

    def test_the_record_carries_what_operators_need(self, api: Api, agent: Agent) -> None:
        answer = api.post(f"agents/{agent.pk}/run", RUN, headers={"X-Request-ID": "my-id.1"})
        execution = Execution.objects.get(pk=answer.json["execution_id"])
        assert execution.request_id == "my-id.1" == answer.headers["x-request-id"]
        assert execution.tenant_id == agent.tenant_id
        assert (execution.status, execution.error_code) == ("succeeded", "")
        assert 0 <= execution.latency_ms < 5000

    @pytest.mark.parametrize("model", MODELS)
    def test_every_model_of_this_release_answers(self, api: Api, agent: Agent, model: str) -> None:
        answer = api.run(agent.pk, model=model)
        assert (answer.status, answer.json["model"]) == (200, model)
        assert answer.json["response"].startswith("[Mock Response]")

    def test_the_same_question_gets_the_same_answer(self, api: Api, agent: Agent) -> None:
        once, again = (api.run(agent.pk).json for _ in range(2))
        assert once["execution_id"] != again["execution_id"]
        assert once["response"] == again["response"]
        assert api.run(agent.pk, model="gpt-4").json["response"] != once["response"]
        assert api.run(agent.pk, prompt="And now?").json["response"] != once["response"]

    def test_the_answer_names_agent_role_tools_and_prompt(self, api: Api, tenant: Tenant) -> None:
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

    def test_an_unknown_model_is_told_the_known_ones(self, api: Api, agent: Agent) -> None:
        answer = api.run(agent.pk, model="gpt-9")
        assert (answer.status, answer.error_code) == (400, "INVALID_MODEL")
        assert answer.details == {"provided_model": "gpt-9", "allowed_models": MODELS}

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
    def test_errors_are_told_in_their_order(
        self, api: Api, agent: Agent, body: Any, error_code: str
    ) -> None:
        answer = api.post(f"agents/{agent.pk}/run", body)
        assert (answer.status, answer.error_code) == (400, error_code)

    def test_a_refused_run_leaves_no_record(self, api: Api, agent: Agent) -> None:
        bodies: list[Any] = [{}, [], {**RUN, "model": "none"}, {**RUN, "prompt": "x" * 10_001}]
        for body in bodies:
            assert api.post(f"agents/{agent.pk}/run", body).status == 400
        assert not Execution.objects.filter(tenant=agent.tenant_id).exists()


# What is asked, its answer, and the units it takes.
Call = Callable[[Api, Agent], Answer]


def _raw(raw: bytes, **headers: str) -> Call:
    return lambda api, agent: api.post(f"agents/{agent.pk}/run", raw=raw, headers=headers)


def _other(method: str) -> Call:
    return lambda api, agent: api.call(method, f"agents/{agent.pk}/run", RUN)


def _foreign(api: Api, agent: Agent) -> Answer:
    return api.run(AgentFactory.create(tenant=TenantFactory.create()).pk)


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
    "no JSON": (_raw(b"{"), 400, "MALFORMED_JSON", 1),
    "no body": (_raw(b""), 400, "MALFORMED_JSON", 1),
    "no object": (_raw(b"[]"), 400, "VALIDATION_ERROR", 1),
    "a wrong field": (_raw(b'{"prompt": 1}'), 400, "VALIDATION_ERROR", 1),
    "a long prompt": (
        lambda api, agent: api.run(agent.pk, prompt="x" * 10_001),
        400,
        "PROMPT_TOO_LONG",
        1,
    ),
    "no such model": (lambda api, agent: api.run(agent.pk, model="x"), 400, "INVALID_MODEL", 1),
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
    "a body over the bound": (_raw(b" " * (1024 * 1024 + 1)), 413, "REQUEST_TOO_LARGE", 0),
    "a Host that is not ours": (_raw(b"{}", Host="example.org"), 400, "BAD_REQUEST", 0),
    "no key": (lambda api, agent: Api().run(agent.pk), 401, "MISSING_API_KEY", 0),
    "an invalid key": (lambda api, agent: Api("x").run(agent.pk), 401, "INVALID_API_KEY", 0),
    "GET": (_other("GET"), 405, "METHOD_NOT_ALLOWED", 0),
    "PUT": (_other("PUT"), 405, "METHOD_NOT_ALLOWED", 0),
    "PATCH": (_other("PATCH"), 405, "METHOD_NOT_ALLOWED", 0),
    "DELETE": (_other("DELETE"), 405, "METHOD_NOT_ALLOWED", 0),
    "OPTIONS": (_other("OPTIONS"), 405, "METHOD_NOT_ALLOWED", 0),
    "a method of nobody's": (_other("RUN"), 405, "METHOD_NOT_ALLOWED", 0),
    "a trailing slash": (
        lambda api, agent: api.post(f"agents/{agent.pk}/run/", RUN),
        404,
        "NOT_FOUND",
        0,
    ),
    "an empty id": (lambda api, agent: api.run(""), 404, "NOT_FOUND", 0),
}


@pytest.mark.parametrize(("call", "status", "error_code", "units"), OUTCOMES.values(), ids=OUTCOMES)
def test_each_outcome_takes_its_units_and_tells_the_headers(
    *, api: Api, agent: Agent, call: Call, status: int, error_code: str, units: int
) -> None:
    answer = call(api, agent)
    assert answer.status == status
    assert status == 200 or answer.error_code == error_code
    assert units_taken(agent.tenant) == units
    if units:
        limits = told_limits(answer)
        assert limits == {"limit": 100, "remaining": 99, "window": 60, "wait": 60}
    else:
        assert not HEADERS & answer.headers.keys()
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

    def test_the_quota_of_the_tenants_row_holds(self, api: Api, agent: Agent) -> None:
        for remaining in (2, 1, 0):
            answer = api.run(agent.pk)
            limits = told_limits(answer)
            assert answer.status == 200
            assert limits["limit"] == self.LIMIT
            assert limits["window"] == self.WINDOW
            assert limits["remaining"] == remaining
            assert 1 <= limits["wait"] <= self.WINDOW

    def test_all_keys_of_a_tenant_share_it(self, agent: Agent) -> None:
        for remaining in (2, 1, 0):
            assert told_limits(api_of(agent.tenant).run(agent.pk))["remaining"] == remaining
        assert api_of(agent.tenant).run(agent.pk).status == 429

    def test_a_denied_call_says_how_long_to_wait(self, api: Api, agent: Agent) -> None:
        for _ in range(self.LIMIT):
            api.run(agent.pk)
        answer = api.run(agent.pk)
        assert (answer.status, answer.error_code) == (429, "RATE_LIMIT_EXCEEDED")
        wait = int(answer.headers["retry-after"])
        assert answer.details == {
            "limit": self.LIMIT,
            "window_seconds": self.WINDOW,
            "retry_after_seconds": wait,
        }
        assert 1 <= wait <= self.WINDOW
        limits = told_limits(answer)
        assert limits == {"limit": 3, "remaining": 0, "window": 600, "wait": wait}
        assert Execution.objects.filter(tenant=agent.tenant).count() == self.LIMIT

    def test_the_quota_is_asked_before_agent_and_body(self, api: Api, agent: Agent) -> None:
        for _ in range(self.LIMIT):
            api.run(agent.pk)
        denied = [call for call, status, _, units in OUTCOMES.values() if units]
        for call in denied:
            answer = call(api, agent)
            assert (answer.status, answer.error_code) == (429, "RATE_LIMIT_EXCEEDED")
        for call, status, _, units in OUTCOMES.values():
            assert units or call(api, agent).status == status

    def test_other_tenants_and_endpoints_go_on(
        self, api: Api, other_api: Api, agent: Agent, other_tenant: Tenant
    ) -> None:
        for _ in range(self.LIMIT + 1):
            last = api.run(agent.pk)
        assert last.status == 429
        assert api.get("history").json["total"] == self.LIMIT
        assert other_api.run(AgentFactory.create(tenant=other_tenant).pk).status == 200

    def test_a_raised_quota_holds_at_once_and_forgets_nothing(self, api: Api, agent: Agent) -> None:
        for _ in range(self.LIMIT):
            api.run(agent.pk)
        assert api.run(agent.pk).status == 429
        Tenant.objects.filter(pk=agent.tenant_id).update(rate_limit_requests=self.LIMIT + 2)
        assert told_limits(_within_a_second(lambda: api.run(agent.pk)))["remaining"] == 1

    def test_a_lowered_quota_counts_what_was_taken(self, api: Api, agent: Agent) -> None:
        api.run(agent.pk)
        api.run(agent.pk)
        Tenant.objects.filter(pk=agent.tenant_id).update(rate_limit_requests=1)
        time.sleep(1)
        answer = api.run(agent.pk)
        assert (answer.status, answer.details["limit"]) == (429, 1)
        assert told_limits(answer)["remaining"] == 0

    def test_null_is_the_setting(self, api: Api, agent: Agent) -> None:
        Tenant.objects.filter(pk=agent.tenant_id).update(
            rate_limit_requests=None, rate_limit_window_seconds=None
        )
        limits = told_limits(api.run(agent.pk))
        assert (limits["limit"], limits["window"]) == (100, 60)

    def test_who_waits_as_told_gets_through(self, tenant: Tenant) -> None:
        Tenant.objects.filter(pk=tenant.pk).update(
            rate_limit_requests=1, rate_limit_window_seconds=1
        )
        api, agent = api_of(tenant), AgentFactory.create(tenant=tenant)
        first = api.run(agent.pk)
        while (denied := api.run(agent.pk)).status == 200:
            first = denied
        assert first.status == 200
        time.sleep(int(denied.headers["retry-after"]))
        assert api.run(agent.pk).status == 200


def _within_a_second(call: Callable[[], Answer]) -> Answer:
    deadline = time.monotonic() + 1
    while (answer := call()).status == 429 and time.monotonic() < deadline:
        time.sleep(0.1)
    return answer


def test_reset_is_the_second_in_which_the_oldest_unit_comes_free(api: Api, agent: Agent) -> None:
    before = time.time()
    first = api.run(agent.pk)
    after = time.time()
    time.sleep(1.1)
    second = api.run(agent.pk)
    for answer in (first, second):
        reset = int(answer.headers["x-ratelimit-reset"])
        assert math.ceil(before + 60) - 1 <= reset <= math.ceil(after + 60) + 1
    assert first.headers["x-ratelimit-reset"] == second.headers["x-ratelimit-reset"]
    assert told_limits(second)["wait"] < 60


def test_no_error_of_a_run_says_more_than_it_should(api: Api, agent: Agent) -> None:
    assert api.key
    for call, status, _, _ in OUTCOMES.values():
        text = call(api, agent).content.decode()
        assert status == 200 or api.key not in text
        assert "Traceback" not in text
        assert json.loads(text)
