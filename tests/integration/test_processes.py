"""Several server processes on one database: what one does, the others know; and one may go."""

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

EVERYWHERE_WITHIN_SECONDS = 1.0


@pytest.fixture(scope="module")
def ports() -> Iterator[tuple[int, int]]:
    """Two servers, of one process with some threads each."""
    with serving(WEB_CONCURRENCY="1") as one, serving(WEB_CONCURRENCY="1") as two:
        yield one, two


Both = tuple[LiveApi, LiveApi]


@pytest.fixture
def both(ports: tuple[int, int], tenant: Tenant) -> Both:
    """One key's client at each."""
    key = api_of(tenant).key
    one, two = (LiveApi(port, key) for port in ports)
    for api in (one, two):
        assert api.get("tools").status == 200
    return one, two


def holds_everywhere(apis: Both, call: Callable[[LiveApi], Answer], expected: object) -> bool:
    """Whether both answer so (a status, or the limit they tell) within the second, and from then on."""
    deadline = time.monotonic() + EVERYWHERE_WITHIN_SECONDS
    while time.monotonic() < deadline:
        if {told(call(api)) for api in apis} == {expected}:
            return {told(call(api)) for api in apis * 3} == {expected}
        time.sleep(0.1)
    return False


def told(answer: Answer) -> object:
    limit = answer.headers.get("x-ratelimit-limit")
    return f"limit {limit}" if limit else answer.status


def test_key_revoked(both: Both, tenant: Tenant) -> None:
    other = LiveApi(both[0].port, api_of(tenant).key)
    call_command("revoke_api_key", ApiKey.objects.filter(tenant=tenant).earliest("id").prefix)
    assert holds_everywhere(both, lambda api: api.get("tools"), 401)
    assert {api.get("tools").error_code for api in both} == {"INVALID_API_KEY"}
    assert other.get("tools").status == 200


def test_tenant_deactivated_and_back(both: Both, tenant: Tenant) -> None:
    call_command("update_tenant", str(tenant.pk), "--inactive")
    assert holds_everywhere(both, lambda api: api.get("agents"), 401)
    assert {api.run(tenant.pk).error_code for api in both} == {"INVALID_API_KEY"}
    call_command("update_tenant", str(tenant.pk), "--active")
    assert holds_everywhere(both, lambda api: api.get("agents"), 200)


def test_new_key(both: Both, tenant: Tenant) -> None:
    """One that was unknown a moment ago is known at once."""
    key = api_of(tenant).key
    assert {LiveApi(api.port, key).get("tools").status for api in both} == {200}


def test_quota_changed(both: Both, tenant: Tenant) -> None:
    """It forgets nothing: what was run counts, wherever it was run."""
    agent = AgentFactory.create(tenant=tenant)

    def run(api: LiveApi) -> Answer:
        return api.run(agent.pk)

    assert {told(run(api)) for api in both} == {"limit 100"}
    call_command("update_tenant", str(tenant.pk), "--rate-limit", "2")
    assert holds_everywhere(both, run, "limit 2")
    assert {run(api).status for api in both} == {429}
    call_command("update_tenant", str(tenant.pk), "--rate-limit", "default")
    assert holds_everywhere(both, run, "limit 100")
    passed = Execution.objects.filter(tenant=tenant).count()
    assert int(run(both[0]).headers["x-ratelimit-remaining"]) == 100 - passed - 1


def test_quota_of_both_together(ports: tuple[int, int]) -> None:
    tenant = TenantFactory.create(rate_limit_requests=9)
    agent = AgentFactory.create(tenant=tenant)
    key = api_of(tenant).key
    calls = [partial(LiveApi(ports[n % 2], key).run, agent.pk) for n in range(20)]
    assert Counter(answer.status for answer in at_once(calls)) == {200: 9, 429: 11}
    assert Execution.objects.filter(tenant=tenant).count() == 9


def test_a_change_is_in_the_next_run_everywhere(both: Both, tenant: Tenant) -> None:
    one, two = both
    agent = AgentFactory.create(tenant=tenant, with_tools=1)
    tool = ToolFactory.create(tenant=tenant)
    path = f"agents/{agent.pk}"
    for number in range(10):
        # Each has read it by now, and may believe that it knows.
        assert one.run(agent.pk).status == two.run(agent.pk).status == 200
        here, there = both if number % 2 else (two, one)
        assert (
            here.patch(path, {"name": f"name {number}", "tool_ids": [str(tool.pk)]}).status == 200
        )
        assert there.run(agent.pk).json["agent_name"] == f"name {number}"
        assert here.patch(f"tools/{tool.pk}", {"name": f"tool {number}"}).status == 200
        assert there.run(agent.pk).json["tools_available"] == [f"tool {number}"]
        assert there.get(path).json["tools"][0]["name"] == f"tool {number}"
        assert here.patch(path, {"tool_ids": []}).status == 200
        assert there.run(agent.pk).json["tools_available"] == []
        assert there.get(path).json["tools"] == []


def test_a_deletion_is_known_everywhere(both: Both, tenant: Tenant) -> None:
    one, two = both
    for here, there in ((one, two), (two, one)):
        agent = AgentFactory.create(tenant=tenant, with_tools=1)
        assert here.run(agent.pk).status == there.run(agent.pk).status == 200
        assert here.delete(f"agents/{agent.pk}").status == 204
        assert there.run(agent.pk).error_code == "AGENT_NOT_FOUND"
        assert there.get(f"agents/{agent.pk}").error_code == "AGENT_NOT_FOUND"


@contextmanager
def runs_waiting() -> Iterator[None]:
    """Every run waits to be recorded, until left: half a second, say."""
    with psycopg.connect(database_url()) as session:
        session.execute("LOCK TABLE executions_execution IN ACCESS EXCLUSIVE MODE")
        yield


def in_background(call: Callable[[], Answer]) -> Callable[[], Answer]:
    """Starts the call; gives what waits for its answer."""
    answers: list[Answer] = []
    thread = Thread(target=lambda: answers.append(call()))
    thread.start()

    def answer() -> Answer:
        thread.join(30)
        return answers[0]

    return answer


def test_a_run_under_way_is_finished(api: LiveApi, tenant: Tenant) -> None:
    """`serving` asserts that the server ends with exit code 0."""
    agent = AgentFactory.create(tenant=tenant)
    with serving() as port:
        live = LiveApi(port, api.key)
        assert live.run(agent.pk).status == 200
        with runs_waiting():
            answer = in_background(partial(live.run, agent.pk))
            time.sleep(0.3)
            os.kill(arbiter(port), signal.SIGTERM)
            time.sleep(0.2)
        assert answer().status == 200
    recorded = Execution.objects.filter(tenant=tenant)
    assert str(recorded.latest("created_at").pk) == answer().json["execution_id"]
    assert recorded.count() == 2


def test_a_killed_worker_is_replaced(api: LiveApi, tenant: Tenant) -> None:
    """Only calls that it was serving at that moment are lost, and none of those is recorded twice."""
    agent = AgentFactory.create(tenant=tenant)
    with serving(RATE_LIMIT_REQUESTS="100000") as port:
        live = LiveApi(port, api.key)
        workers = children(arbiter(port))
        assert len(workers) == 2
        end = time.monotonic() + 3.0

        def client() -> list[Answer | None]:
            answers: list[Answer | None] = []
            while time.monotonic() < end:
                try:
                    answers.append(live.run(agent.pk))
                except (OSError, HTTPException):
                    answers.append(None)
            return answers

        def killer() -> list[Answer | None]:
            time.sleep(0.5)
            os.kill(workers[0], signal.SIGKILL)
            return []

        answers = [answer for found in at_once([*[client] * 6, killer]) for answer in found]
        assert {answer.status for answer in answers if answer} == {200}
        assert answers.count(None) <= 6
        assert eventually(lambda: len(children(arbiter(port))) == 2)
        assert workers[1] in children(arbiter(port))
        assert {live.get("tools").status for _ in range(10)} == {200}
    ran = len(answers) - answers.count(None)
    assert ran <= Execution.objects.filter(tenant=tenant).count() <= ran + 6
