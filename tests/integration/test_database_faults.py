"""PostgreSQL killed, halted, stopped, locked, slow: 503 within two seconds, and whole again by itself."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial

import pytest

from tests.api import Answer, LiveApi
from tests.at_once import at_once, timed
from tests.live import serving
from tests.own_postgres import OwnPostgres, own_postgres

pytestmark = pytest.mark.slow

IN_TIME_SECONDS = 2.0
CROWD = 20
# Of one process. A lock is no outage, and each call waits its time for it: more calls than this may
# all come to one process, and then some wait for a thread first.
THREADS = 8
TOOL = {"name": "t", "description": "d"}


class Service:
    """A database of our own, and two servers on it: one is used in the outage, the other sees none."""

    def __init__(self, database: OwnPostgres, ports: tuple[int, int], key: str) -> None:
        self.database = database
        self.used, self.idle = (LiveApi(port, key) for port in ports)
        self.agent_id = self.used.post("agents", agent_body("the agent", [])).json["id"]

    def calls(self) -> list[Callable[[], Answer]]:
        """A call of every kind: reads, writes of one statement and of several, runs."""
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

    def crowd(self) -> list[Callable[[], Answer]]:
        """Twenty calls, of all kinds."""
        calls = [call for _ in range(3) for call in self.calls()]
        return calls[:CROWD]

    def warm_up(self) -> None:
        """Has both servers' pools filled, and the used one well."""
        self.await_return(10.0)
        at_once([lambda: self.idle.get("tools")] * CROWD)

    def await_return(self, seconds: float = IN_TIME_SECONDS) -> None:
        """That long for the used server to be well; whoever else comes then has no error at all."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if {answer.status for answer in at_once(self.crowd())} <= {200, 201, 400}:
                return
            time.sleep(0.05)
        raise AssertionError("the service is not back in time")

    def runs(self) -> int:
        """How many runs are recorded, as the database tells."""
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
        # Redis may write to the disk that a PostgreSQL that is killed and started keeps busy.
        environment = {"DATABASE_URL": database.url, "RATE_LIMIT_TIMEOUT_MS": "1000"}
        used = stack.enter_context(serving(**environment))
        idle = stack.enter_context(serving(**environment))
        yield Service(database, (used, idle), key)


@pytest.fixture
def service(running_service: Service) -> Service:
    running_service.warm_up()
    return running_service


def is_unavailable(answer: Answer) -> bool:
    return (
        answer.status == 503
        and answer.error_code == "SERVICE_UNAVAILABLE"
        and answer.details == {"reason": "database_unavailable"}
        and int(answer.headers["retry-after"]) >= 1
    )


def assert_refused_in_time(calls: list[Callable[[], Answer]]) -> None:
    for answer, seconds in at_once([timed(call) for call in calls]):
        assert is_unavailable(answer), answer
        assert seconds < IN_TIME_SECONDS


def assert_out_of_order(service: Service) -> None:
    """What holds for as long as the database is away."""
    for _ in range(2):
        assert_refused_in_time(service.crowd())
    for call in service.calls():
        assert_refused_in_time([call])
    assert_probes(service.used.port)


def assert_probes(port: int) -> None:
    """Of the three only /live is well, also when many ask."""
    api, paths = LiveApi(port), ["/live", "/health", "/ready"] * 4
    answered = at_once([timed(partial(api.get, path)) for path in paths])
    for path, (answer, seconds) in zip(paths, answered, strict=True):
        assert answer.status == (200 if path == "/live" else 503)
        assert seconds < IN_TIME_SECONDS
    redis_is_well = {"database": "unavailable", "redis": "ok"}
    assert api.get("/health").json == {"status": "unavailable", "checks": redis_is_well}


def assert_whole_again(service: Service) -> None:
    """Within two seconds everything is well, and for whoever sees the outage only now it always was."""
    started = time.monotonic()
    # The server that nobody asked meanwhile has only connections that are dead.
    answers = at_once([lambda: service.idle.get("tools")] * CROWD)
    assert {answer.status for answer in answers} == {200}
    service.await_return(started + IN_TIME_SECONDS - time.monotonic())
    for _ in range(3):
        assert {answer.status for answer in at_once(service.crowd())} <= {200, 201, 400}
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
    runs = service.runs()
    with OUTAGES[outage](service.database):
        assert_out_of_order(service)
    assert_whole_again(service)
    assert service.runs() >= runs


@pytest.mark.parametrize("outage", OUTAGES)
def test_outage_that_nobody_is_there_to_see(service: Service, outage: str) -> None:
    """Not one request fails: all connections in all pools are dead or were asleep."""
    with OUTAGES[outage](service.database):
        time.sleep(0.5)
    answers = at_once(service.crowd())
    assert {answer.status for answer in answers} <= {200, 201, 400}


@pytest.mark.parametrize("outage", OUTAGES)
def test_return_long_after_the_last_error(service: Service, outage: str) -> None:
    """A server that has seen the outage is not impatient for ever."""
    with OUTAGES[outage](service.database):
        assert_refused_in_time(service.crowd())
        time.sleep(2.5)
    time.sleep(2.0)
    answers = at_once(service.crowd())
    assert {answer.status for answer in answers} <= {200, 201, 400}


def test_hang_is_waited_for_once(service: Service) -> None:
    """After one request has found out, the others fail at once."""
    threads = 6
    environment = {"WEB_CONCURRENCY": "1"}
    with serving(DATABASE_URL=service.database.url, **environment) as port:
        api = LiveApi(port, service.used.key)
        for _ in range(5):
            at_once([lambda: api.get("tools")] * 5 * threads)
        terminate_all(service, but_newest=threads // 2)
        with service.database.halted():
            api.get("tools")
            for answer, seconds in at_once([timed(lambda: api.get("tools"))] * threads):
                assert is_unavailable(answer)
                assert seconds < 0.5


def test_restarts_under_load(service: Service) -> None:
    """All is answered, in time, with what is right or 503; a run that is answered is recorded."""
    before = service.runs()
    end = time.monotonic() + 6.0

    def client(call: Callable[[], Answer]) -> list[tuple[Answer, float]]:
        answers = []
        while time.monotonic() < end:
            answers.append(timed(call)())
        return answers

    def restarts() -> list[tuple[Answer, float]]:
        for number in (signal.SIGINT, signal.SIGKILL, signal.SIGQUIT):
            time.sleep(0.5)
            service.database.stop(number)
            service.database.start()
        return []

    clients = [lambda call=call: client(call) for call in service.calls() * 2]
    answered = [pair for pairs in at_once([*clients, restarts]) for pair in pairs]
    for answer, seconds in answered:
        assert answer.status in {200, 201, 400} or is_unavailable(answer), answer
        assert seconds < IN_TIME_SECONDS
    ran = [answer for answer, _ in answered if "execution_id" in answer.json]
    assert ran
    assert service.runs() >= before + len(ran)
    for answer in ran[-5:]:
        assert service.used.get(f"history/{answer.json['execution_id']}").status == 200


def terminate_all(service: Service, *, but_newest: int = 0) -> None:
    """Returns once they are gone; the pools may have made others by then."""
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


def test_backends_terminated(service: Service) -> None:
    """Those of idle connections cost nobody an error."""
    for _ in range(20):
        terminate_all(service)
        answers = at_once([*service.calls()])
        assert {answer.status for answer in answers} <= {200, 201, 400}


def test_a_backend_terminated_in_the_middle_leaves_no_half(service: Service) -> None:
    tool_id = service.used.post("tools", {"name": "half", "description": "d"}).json["id"]
    with service.database.session() as session, held(service, "tools_tool"):

        def terminate() -> Answer:
            # Once the agent is written, its transaction waits for the lock.
            while not session.execute(_WAITING).fetchall():
                time.sleep(0.005)
            session.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            )
            return Answer(0, {}, b"")

        answer, _ = at_once(
            [lambda: service.used.post("agents", agent_body("half", [tool_id])), terminate]
        )
    assert is_unavailable(answer)
    assert not named(service, "agents_agent", "half")
    assert service.used.delete(f"tools/{tool_id}").status == 204


_WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


def named(service: Service, table: str, name: str) -> int:
    with service.database.session() as session:
        rows = session.execute(f"SELECT id FROM {table} WHERE name = %s", [name]).fetchall()
    return len(rows)


@contextmanager
def held(service: Service, table: str) -> Iterator[None]:
    """Somebody else's lock on a whole table."""
    with service.database.session() as session, session.transaction():
        session.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield


@contextmanager
def row_held(service: Service, table: str, row_id: str) -> Iterator[None]:
    """Somebody else's lock on one row."""
    with service.database.session() as session, session.transaction():
        session.execute(f"SELECT 1 FROM {table} WHERE id = %s FOR UPDATE", [row_id])
        yield


def test_locked_table(service: Service) -> None:
    """What needs it is refused in time; the rest goes on."""
    with held(service, "executions_execution"):
        assert_refused_in_time([lambda: service.used.run(service.agent_id)] * THREADS)
        assert service.used.get("tools").status == 200
        assert service.used.get("/health").status == 200
    assert service.used.run(service.agent_id).status == 200


def test_locked_keys(service: Service) -> None:
    """The one table that every call needs."""
    with held(service, "tenants_apikey"):
        # Until what was read of the key before is too old.
        time.sleep(1.0)
        assert_refused_in_time(service.crowd()[:THREADS])
        assert service.used.get("/ready").status == 200
    assert_whole_again(service)


def test_locked_row(service: Service) -> None:
    api = service.used
    with row_held(service, "agents_agent", service.agent_id):
        patches = [lambda: api.patch(f"agents/{service.agent_id}", {"role": "x"})] * (THREADS - 1)
        assert_refused_in_time([*patches, lambda: api.delete(f"agents/{service.agent_id}")])
        # Readers wait for nobody.
        assert api.run(service.agent_id).status == 200
    assert api.get(f"agents/{service.agent_id}").json["role"] == "r"


def test_no_orphan_of_a_lock(service: Service) -> None:
    """An agent whose association was not written is not there either."""
    tool_id = service.used.post("tools", {"name": "locked", "description": "d"}).json["id"]
    with held(service, "agents_agenttool"):
        assert_refused_in_time(
            [lambda: service.used.post("agents", agent_body("orphan", [tool_id]))] * 4
        )
    assert not named(service, "agents_agent", "orphan")
    assert service.used.delete(f"tools/{tool_id}").status == 204


@contextmanager
def slow(service: Service, table: str) -> Iterator[None]:
    """Every insert takes half a minute."""
    with service.database.session() as session:
        session.execute(
            "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql "
            "AS 'BEGIN PERFORM pg_sleep(30); RETURN NEW; END'"
        )
        session.execute(
            f"CREATE TRIGGER dawdle BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION dawdle()"
        )
        try:
            yield
        finally:
            session.execute("DROP FUNCTION dawdle CASCADE")


def test_slow_statement(service: Service) -> None:
    """The server cancels it; nothing of it stays, and other calls go on."""
    runs = service.runs()
    with slow(service, "executions_execution"):
        assert_refused_in_time([lambda: service.used.run(service.agent_id)] * THREADS)
    time.sleep(0.2)
    assert service.runs() == runs
    assert service.used.run(service.agent_id).status == 200
    assert service.runs() == runs + 1


def test_too_many_connections(service: Service) -> None:
    """The server takes no more: those there are still serve."""
    with ExitStack() as stack:
        with suppress(Exception):
            while True:
                stack.enter_context(service.database.session())
        answers = at_once([timed(call) for call in service.crowd()])
        for answer, seconds in answers:
            assert answer.status in {200, 201, 400} or is_unavailable(answer)
            assert seconds < IN_TIME_SECONDS
        assert any(answer.status == 200 for answer, _ in answers)
    service.await_return()
