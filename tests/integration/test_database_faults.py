"""PostgreSQL is killed, halted, stopped, locked or slow: 503 in time, and recovery."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from tests.api import Answer, LiveApi
from tests.at_once import at_once, timed
from tests.live import serving
from tests.own_postgres import OwnPostgres, own_postgres

pytestmark = pytest.mark.slow

# A server gives up a statement, and the wait for a connection, after 2.5 s. That leaves a wide margin for
# requests that succeed on a loaded machine, and IN_TIME_SECONDS one for those that fail.
SLOW_MACHINE = {"STATEMENT_TIMEOUT_MS": "2500", "RATE_LIMIT_TIMEOUT_MS": "1000"}
IN_TIME_SECONDS = 5.0
CALLS = 20
# Each of these calls waits for a lock until its timeout. With more calls than a process has connections,
# some would wait for a connection first.
LOCKED_CALLS = 8
TOOL = {"name": "t", "description": "d"}


class Service:
    """A database of the test and two servers on it: one is used during the outage, the other is idle."""

    def __init__(self, database: OwnPostgres, ports: tuple[int, int], key: str) -> None:
        self.database = database
        self.used, self.idle = (LiveApi(port, key) for port in ports)
        self.agent_id = self.used.post("agents", agent_body("the agent", [])).json["id"]

    def calls(self) -> list[Callable[[], Answer]]:
        """Return one call of each kind: reads, writes of one and of several statements, a run."""
        api, tag = self.used, time.monotonic_ns()
        return [
            lambda: api.get("tools"),
            lambda: api.get(f"agents/{self.agent_id}"),
            lambda: api.get("history?limit=1"),
            lambda: api.post("tools", {"name": f"tool {tag}", "description": "d"}),
            lambda: api.post("agents", agent_body(f"agent {tag}", [])),
            lambda: api.patch(f"agents/{self.agent_id}", {"role": "r", "tool_ids": []}),
            lambda: api.run(self.agent_id),
        ]

    def many_calls(self) -> list[Callable[[], Answer]]:
        """Return twenty calls of all kinds."""
        calls = [call for _ in range(3) for call in self.calls()]
        return calls[:CALLS]

    def warm_up(self) -> None:
        """Wait until the used server works, and fill the pools of both."""
        self.wait_until_recovered(10.0)
        at_once([lambda: self.idle.get("tools")] * CALLS)

    def wait_until_recovered(self, seconds: float = IN_TIME_SECONDS) -> None:
        """Wait until all of many calls to the used server succeed."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if {response.status for response in at_once(self.many_calls())} <= {200, 201, 400}:
                return
            time.sleep(0.05)
        raise AssertionError("the service did not recover in time")

    def count_runs(self) -> int:
        """Return the number of recorded runs."""
        with self.database.session() as session:
            row = session.execute("SELECT count(*) FROM executions_execution").fetchone()
        assert row is not None
        assert isinstance(row[0], int)
        return row[0]


def agent_body(name: str, tool_ids: list[str]) -> dict[str, object]:
    return {"name": name, "role": "r", "description": "d", "tool_ids": tool_ids}


@pytest.fixture(scope="module")
def running_service() -> Iterator[Service]:
    with own_postgres() as database, ExitStack() as stack:
        tenant = database.manage("create_tenant", "T", "--rate-limit", "1000000")
        key = database.manage("create_api_key", tenant)
        used, idle = (
            stack.enter_context(serving(DATABASE_URL=database.url, **SLOW_MACHINE))
            for _ in range(2)
        )
        yield Service(database, (used, idle), key)


@pytest.fixture
def service(running_service: Service) -> Service:
    running_service.warm_up()
    return running_service


def is_unavailable(response: Answer) -> bool:
    return (
        response.status == 503
        and response.error_code == "SERVICE_UNAVAILABLE"
        and response.details == {"reason": "database_unavailable"}
        and int(response.headers["retry-after"]) >= 1
    )


def assert_refused_in_time(calls: list[Callable[[], Answer]]) -> None:
    for response, seconds in at_once([timed(call) for call in calls]):
        assert is_unavailable(response), response
        assert seconds < IN_TIME_SECONDS


def assert_unavailable(service: Service) -> None:
    """Assert the responses during an outage."""
    for _ in range(2):
        assert_refused_in_time(service.many_calls())
    for call in service.calls():
        assert_refused_in_time([call])
    assert_probes(service.used.port)


def assert_probes(port: int) -> None:
    """Assert that /live succeeds and /health and /ready fail, with many simultaneous requests."""
    api, paths = LiveApi(port), ["/live", "/health", "/ready"] * 4
    results = at_once([timed(partial(api.get, path)) for path in paths])
    for path, (response, seconds) in zip(paths, results, strict=True):
        assert response.status == (200 if path == "/live" else 503)
        assert seconds < IN_TIME_SECONDS
    checks = {"database": "unavailable", "redis": "ok"}
    assert api.get("/health").json == {"status": "unavailable", "checks": checks}


def assert_recovered(service: Service) -> None:
    """Assert that all calls succeed soon, on both servers."""
    started = time.monotonic()
    # The idle server's pool has only lost connections. Its circuit breaker is open for a second if it
    # searched for lost runs while the database was halted.
    while {answer.status for answer in at_once([lambda: service.idle.get("tools")] * CALLS)} != {
        200
    }:
        assert time.monotonic() < started + IN_TIME_SECONDS
    service.wait_until_recovered(started + IN_TIME_SECONDS - time.monotonic())
    for _ in range(3):
        assert {response.status for response in at_once(service.many_calls())} <= {200, 201, 400}
    for path in ("/live", "/health", "/ready"):
        assert service.used.get(path).status == 200


@contextmanager
def down(database: OwnPostgres, number: signal.Signals) -> Iterator[None]:
    database.stop(number)
    yield
    database.start()


OUTAGES: dict[str, Callable[[OwnPostgres], AbstractContextManager[None]]] = {
    "killed": lambda database: down(database, signal.SIGKILL),
    "stopped fast": lambda database: down(database, signal.SIGINT),
    "stopped immediately": lambda database: down(database, signal.SIGQUIT),
    "halted": OwnPostgres.halted,
}


@pytest.mark.parametrize("outage", OUTAGES)
def test_outage(service: Service, outage: str) -> None:
    runs = service.count_runs()
    with OUTAGES[outage](service.database):
        assert_unavailable(service)
    assert_recovered(service)
    assert service.count_runs() >= runs


@pytest.mark.parametrize("outage", OUTAGES)
def test_outage_without_requests(service: Service, outage: str) -> None:
    """No request fails afterwards, although all connections in the pools were lost or halted."""
    with OUTAGES[outage](service.database):
        time.sleep(0.5)
    responses = at_once(service.many_calls())
    assert {response.status for response in responses} <= {200, 201, 400}


def test_recovery_right_after_the_last_error(service: Service) -> None:
    """No request fails that begins after the outage, although the first new connection takes a while."""
    ended = threading.Event()

    def client() -> list[Answer]:
        responses = []
        while not ended.is_set():
            responses.append(service.used.get("tools"))
        return responses

    with ThreadPoolExecutor(2) as pool:
        with down(service.database, signal.SIGINT):
            before = [pool.submit(client) for _ in range(2)]
            time.sleep(0.5)
        ended.set()
        assert any(is_unavailable(response) for each in before for response in each.result())
        with service.database.halted():
            after = pool.submit(at_once, service.calls())
            time.sleep(0.2)
        assert {response.status for response in after.result()} <= {200, 201, 400}


@pytest.mark.parametrize("outage", OUTAGES)
def test_recovery_long_after_the_last_error(service: Service, outage: str) -> None:
    """A server that has seen the outage does not keep its circuit breaker open."""
    with OUTAGES[outage](service.database):
        assert_refused_in_time(service.many_calls())
        time.sleep(2.5)
    time.sleep(2.0)
    responses = at_once(service.many_calls())
    assert {response.status for response in responses} <= {200, 201, 400}


def test_only_one_request_waits_for_a_hang(service: Service) -> None:
    """After the first failure, the other requests fail at once."""
    clients = 6
    environment = {"DATABASE_URL": service.database.url, "WEB_CONCURRENCY": "1"}
    with serving(**environment, **SLOW_MACHINE) as port:
        api = LiveApi(port, service.used.key)
        for _ in range(5):
            at_once([lambda: api.get("tools")] * 5 * clients)
        terminate_all(service, but_newest=clients // 2)
        with service.database.halted():
            api.get("tools")
            for response, seconds in at_once([timed(lambda: api.get("tools"))] * clients):
                assert is_unavailable(response)
                assert seconds < 1.5


def test_restarts_under_load(service: Service) -> None:
    """Each response arrives in time and is correct or 503. Each successful run is recorded."""
    before = service.count_runs()
    is_over = threading.Event()

    def client(call: Callable[[], Answer]) -> list[tuple[Answer, float]]:
        responses = []
        while not is_over.is_set():
            responses.append(timed(call)())
        return responses

    def restarts() -> list[tuple[Answer, float]]:
        try:
            for number in (signal.SIGINT, signal.SIGKILL, signal.SIGQUIT):
                time.sleep(0.5)
                service.database.stop(number)
                service.database.start()
            service.wait_until_recovered()
        finally:
            is_over.set()
        return []

    clients = [lambda call=call: client(call) for call in service.calls() * 2]
    results = [pair for pairs in at_once([*clients, restarts]) for pair in pairs]
    for response, seconds in results:
        assert response.status in {200, 201, 400} or is_unavailable(response), response
        assert seconds < IN_TIME_SECONDS
    runs = [response for response, _ in results if "execution_id" in response.json]
    assert runs
    assert service.count_runs() >= before + len(runs)
    for response in runs[-5:]:
        assert service.used.get(f"history/{response.json['execution_id']}").status == 200


def terminate_all(service: Service, *, but_newest: int = 0) -> None:
    """Terminate the clients' backends and wait for their end. Pools may open new ones meanwhile."""
    with service.database.session() as session:
        terminated = session.execute(
            "SELECT pid, pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() "
            "ORDER BY backend_start DESC OFFSET %s)",
            [but_newest],
        ).fetchall()
        pids = [pid for pid, _ in terminated]
        left = "SELECT 1 FROM pg_stat_activity WHERE pid = ANY (%s)"
        while session.execute(left, [pids]).fetchall():
            time.sleep(0.005)
    # A process closes its connection a moment later.
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        time.sleep(0.005)


def test_backends_terminated(service: Service) -> None:
    """A terminated backend of an idle connection fails no request."""
    for _ in range(20):
        terminate_all(service)
        responses = at_once([*service.calls()])
        assert {response.status for response in responses} <= {200, 201, 400}


def test_a_backend_terminated_in_a_transaction_leaves_no_partial_write(service: Service) -> None:
    tool_id = service.used.post("tools", {"name": "half", "description": "d"}).json["id"]
    with service.database.session() as session, table_locked(service, "tools_tool"):

        def terminate() -> Answer:
            # After the insert of the agent, the transaction waits for the lock.
            while not session.execute(_WAITING).fetchall():
                time.sleep(0.005)
            session.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            )
            return Answer(0, {}, b"")

        response, _ = at_once(
            [lambda: service.used.post("agents", agent_body("half", [tool_id])), terminate]
        )
    assert is_unavailable(response)
    assert not count_named(service, "agents_agent", "half")
    assert service.used.delete(f"tools/{tool_id}").status == 204


_WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


def count_named(service: Service, table: str, name: str) -> int:
    with service.database.session() as session:
        rows = session.execute(f"SELECT id FROM {table} WHERE name = %s", [name]).fetchall()
    return len(rows)


@contextmanager
def table_locked(service: Service, table: str) -> Iterator[None]:
    """Lock a whole table in another session."""
    with service.database.session() as session, session.transaction():
        session.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield


@contextmanager
def row_locked(service: Service, table: str, row_id: str) -> Iterator[None]:
    """Lock one row in another session."""
    with service.database.session() as session, session.transaction():
        session.execute(f"SELECT 1 FROM {table} WHERE id = %s FOR UPDATE", [row_id])
        yield


def test_locked_table(service: Service) -> None:
    """Calls that need the table fail in time; others succeed."""
    with table_locked(service, "executions_execution"):
        assert_refused_in_time([lambda: service.used.run(service.agent_id)] * LOCKED_CALLS)
        assert service.used.get("tools").status == 200
        assert service.used.get("/health").status == 200
    assert service.used.run(service.agent_id).status == 200


def test_locked_keys(service: Service) -> None:
    """Every call needs this table."""
    with table_locked(service, "tenants_apikey"):
        # Until the cached key has expired.
        time.sleep(1.0)
        assert_refused_in_time(service.many_calls()[:LOCKED_CALLS])
        assert service.used.get("/ready").status == 200
    assert_recovered(service)


def test_locked_row(service: Service) -> None:
    api = service.used
    with row_locked(service, "agents_agent", service.agent_id):
        patches = [lambda: api.patch(f"agents/{service.agent_id}", {"role": "x"})] * (
            LOCKED_CALLS - 1
        )
        assert_refused_in_time([*patches, lambda: api.delete(f"agents/{service.agent_id}")])
        # Reads do not wait for the lock.
        assert api.run(service.agent_id).status == 200
    assert api.get(f"agents/{service.agent_id}").json["role"] == "r"


def test_no_agent_without_its_association(service: Service) -> None:
    """If the association is not written, the agent is not written either."""
    tool_id = service.used.post("tools", {"name": "locked", "description": "d"}).json["id"]
    with table_locked(service, "agents_agenttool"):
        assert_refused_in_time(
            [lambda: service.used.post("agents", agent_body("orphan", [tool_id]))] * 4
        )
    assert not count_named(service, "agents_agent", "orphan")
    assert service.used.delete(f"tools/{tool_id}").status == 204


@contextmanager
def slow_inserts(service: Service, table: str) -> Iterator[None]:
    """Delay every insert by 30 seconds."""
    with service.database.session() as session:
        session.execute(
            "CREATE FUNCTION delay() RETURNS trigger LANGUAGE plpgsql "
            "AS 'BEGIN PERFORM pg_sleep(30); RETURN NEW; END'"
        )
        session.execute(
            f"CREATE TRIGGER delay BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION delay()"
        )
        try:
            yield
        finally:
            session.execute("DROP FUNCTION delay CASCADE")


def test_slow_statement(service: Service) -> None:
    """PostgreSQL cancels it, nothing is stored, and later calls succeed."""
    runs = service.count_runs()
    with slow_inserts(service, "executions_execution"):
        assert_refused_in_time([lambda: service.used.run(service.agent_id)] * LOCKED_CALLS)
    time.sleep(0.2)
    assert service.count_runs() == runs
    assert service.used.run(service.agent_id).status == 200
    assert service.count_runs() == runs + 1


def test_too_many_connections(service: Service) -> None:
    """PostgreSQL accepts no more connections; the existing ones still work."""
    with ExitStack() as stack:
        with suppress(Exception):
            while True:
                stack.enter_context(service.database.session())
        responses = at_once([timed(call) for call in service.many_calls()])
        for response, seconds in responses:
            assert response.status in {200, 201, 400} or is_unavailable(response)
            assert seconds < IN_TIME_SECONDS
        assert any(response.status == 200 for response, _ in responses)
    service.wait_until_recovered()
