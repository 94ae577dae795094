"""Several server processes on one database: a change applies in all, and each can be stopped."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.client import HTTPException
from threading import Thread

import psycopg
import pytest
from django.core.management import call_command

from executions.models import Execution
from map_project.tenants.models import ApiKey, Tenant
from tests.api import Answer, LiveApi
from tests.at_once import at_once
from tests.checkouts import eventually
from tests.conftest import api_of
from tests.factories import AgentFactory, TenantFactory, ToolFactory
from tests.live import arbiter, database_url, serving
from tests.own_postgres import children

pytestmark = pytest.mark.slow

MAX_PROPAGATION_SECONDS = 1.0


@pytest.fixture(scope="module")
def ports() -> Iterator[tuple[int, int]]:
    """Run two servers with one process each."""
    with serving(WEB_CONCURRENCY="1") as one, serving(WEB_CONCURRENCY="1") as two:
        yield one, two


Both = tuple[LiveApi, LiveApi]


@pytest.fixture
def both(ports: tuple[int, int], tenant: Tenant) -> Both:
    """Return a client of each server, with the same key."""
    key = api_of(tenant).key
    one, two = (LiveApi(port, key) for port in ports)
    for api in (one, two):
        assert api.get("tools").status == 200
    return one, two


def applies_everywhere(apis: Both, call: Callable[[LiveApi], Answer], expected: object) -> bool:
    """Return whether the result of `call` is `expected` on both servers within a second, and stays so."""
    deadline = time.monotonic() + MAX_PROPAGATION_SECONDS
    while time.monotonic() < deadline:
        if {result_of(call(api)) for api in apis} == {expected}:
            return {result_of(call(api)) for api in apis * 3} == {expected}
        time.sleep(0.1)
    return False


def result_of(response: Answer) -> object:
    """Return the rate limit of the response, or else its status."""
    limit = response.headers.get("x-ratelimit-limit")
    return f"limit {limit}" if limit else response.status


def test_key_revoked(both: Both, tenant: Tenant) -> None:
    other = LiveApi(both[0].port, api_of(tenant).key)
    call_command("revoke_api_key", ApiKey.objects.filter(tenant=tenant).earliest("id").prefix)
    assert applies_everywhere(both, lambda api: api.get("tools"), 401)
    assert {api.get("tools").error_code for api in both} == {"INVALID_API_KEY"}
    assert other.get("tools").status == 200


def test_tenant_deactivated_and_activated(both: Both, tenant: Tenant) -> None:
    call_command("update_tenant", str(tenant.pk), "--inactive")
    assert applies_everywhere(both, lambda api: api.get("agents"), 401)
    assert {api.run(tenant.pk).error_code for api in both} == {"INVALID_API_KEY"}
    call_command("update_tenant", str(tenant.pk), "--active")
    assert applies_everywhere(both, lambda api: api.get("agents"), 200)


def test_new_key(both: Both, tenant: Tenant) -> None:
    """A new key is valid at once."""
    key = api_of(tenant).key
    assert {LiveApi(api.port, key).get("tools").status for api in both} == {200}


def test_quota_changed(both: Both, tenant: Tenant) -> None:
    """Earlier runs on both servers still count."""
    agent = AgentFactory.create(tenant=tenant)

    def run(api: LiveApi) -> Answer:
        return api.run(agent.pk)

    assert {result_of(run(api)) for api in both} == {"limit 100"}
    call_command("update_tenant", str(tenant.pk), "--rate-limit", "2")
    assert applies_everywhere(both, run, "limit 2")
    assert {run(api).status for api in both} == {429}
    call_command("update_tenant", str(tenant.pk), "--rate-limit", "default")
    assert applies_everywhere(both, run, "limit 100")
    recorded = Execution.objects.filter(tenant=tenant).count()
    assert int(run(both[0]).headers["x-ratelimit-remaining"]) == 100 - recorded - 1


def test_quota_of_both_servers(ports: tuple[int, int]) -> None:
    tenant = TenantFactory.create(rate_limit_requests=9)
    agent = AgentFactory.create(tenant=tenant)
    key = api_of(tenant).key
    calls = [partial(LiveApi(ports[n % 2], key).run, agent.pk) for n in range(20)]
    assert Counter(response.status for response in at_once(calls)) == {200: 9, 429: 11}
    assert Execution.objects.filter(tenant=tenant).count() == 9


def test_the_next_run_on_any_server_uses_a_change(both: Both, tenant: Tenant) -> None:
    one, two = both
    agent = AgentFactory.create(tenant=tenant, with_tools=1)
    tool = ToolFactory.create(tenant=tenant)
    path = f"agents/{agent.pk}"
    for number in range(10):
        # Both servers have now cached the agent.
        assert one.run(agent.pk).status == two.run(agent.pk).status == 200
        writer, reader = both if number % 2 else (two, one)
        assert (
            writer.patch(path, {"name": f"name {number}", "tool_ids": [str(tool.pk)]}).status == 200
        )
        assert reader.run(agent.pk).json["agent_name"] == f"name {number}"
        assert writer.patch(f"tools/{tool.pk}", {"name": f"tool {number}"}).status == 200
        assert reader.run(agent.pk).json["tools_available"] == [f"tool {number}"]
        assert reader.get(path).json["tools"][0]["name"] == f"tool {number}"
        assert writer.patch(path, {"tool_ids": []}).status == 200
        assert reader.run(agent.pk).json["tools_available"] == []
        assert reader.get(path).json["tools"] == []


def test_a_deletion_applies_everywhere(both: Both, tenant: Tenant) -> None:
    one, two = both
    for writer, reader in ((one, two), (two, one)):
        agent = AgentFactory.create(tenant=tenant, with_tools=1)
        assert writer.run(agent.pk).status == reader.run(agent.pk).status == 200
        assert writer.delete(f"agents/{agent.pk}").status == 204
        assert reader.run(agent.pk).error_code == "AGENT_NOT_FOUND"
        assert reader.get(f"agents/{agent.pk}").error_code == "AGENT_NOT_FOUND"


@contextmanager
def runs_blocked() -> Iterator[None]:
    """Block the recording of runs, for less than the lock timeout."""
    with psycopg.connect(database_url()) as session:
        session.execute("LOCK TABLE executions_execution IN ACCESS EXCLUSIVE MODE")
        yield


def in_background(call: Callable[[], Answer]) -> Callable[[], Answer]:
    """Start the call in a thread, and return a function that waits for its response."""
    responses: list[Answer] = []
    thread = Thread(target=lambda: responses.append(call()))
    thread.start()

    def response() -> Answer:
        thread.join(30)
        return responses[0]

    return response


def test_a_run_in_progress_finishes(api: LiveApi, tenant: Tenant) -> None:
    """`serving` asserts that the server ends with exit code 0."""
    agent = AgentFactory.create(tenant=tenant)
    with serving() as port:
        live = LiveApi(port, api.key)
        assert live.run(agent.pk).status == 200
        with runs_blocked():
            response = in_background(partial(live.run, agent.pk))
            time.sleep(0.3)
            os.kill(arbiter(port), signal.SIGTERM)
            time.sleep(0.2)
        assert response().status == 200
    recorded = Execution.objects.filter(tenant=tenant)
    assert str(recorded.latest("created_at").pk) == response().json["execution_id"]
    assert recorded.count() == 2


def test_a_killed_worker_is_replaced(api: LiveApi, tenant: Tenant) -> None:
    """Only its requests in progress are lost, and none of them is recorded twice."""
    agent = AgentFactory.create(tenant=tenant)
    with serving(RATE_LIMIT_REQUESTS="100000") as port:
        live = LiveApi(port, api.key)
        workers = children(arbiter(port))
        assert len(workers) == 2
        end = time.monotonic() + 3.0

        def client() -> list[Answer | None]:
            responses: list[Answer | None] = []
            while time.monotonic() < end:
                try:
                    responses.append(live.run(agent.pk))
                except (OSError, HTTPException):
                    responses.append(None)
            return responses

        def killer() -> list[Answer | None]:
            time.sleep(0.5)
            os.kill(workers[0], signal.SIGKILL)
            return []

        responses = [response for batch in at_once([*[client] * 6, killer]) for response in batch]
        assert {response.status for response in responses if response} == {200}
        assert responses.count(None) <= 6
        assert eventually(lambda: len(children(arbiter(port))) == 2)
        assert workers[1] in children(arbiter(port))
        assert {live.get("tools").status for _ in range(10)} == {200}
    successful = len(responses) - responses.count(None)
    assert successful <= Execution.objects.filter(tenant=tenant).count() <= successful + 6
