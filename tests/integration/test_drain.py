"""SIGTERM: the door closes at once, what is going is finished within its time, and the exit code is 0."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest
from django.conf import settings

from executions.models import Execution
from map_project.tenants.models import Tenant
from tests.api import Answer, Api, LiveApi
from tests.checkouts import eventually
from tests.contract.wire import parse, request
from tests.factories import AgentFactory
from tests.live import database_url, free_port, wait_until_live

pytestmark = pytest.mark.slow

BODY = b'{"prompt": "Is anybody still there?", "model": "gpt-4o"}'


class Server:
    """A server that a test stops itself."""

    def __init__(self, **environment: str) -> None:
        self.port = free_port()
        own = {"DATABASE_URL": database_url(), "REDIS_URL": settings.REDIS_URL}
        own |= {"HOST": "127.0.0.1", "PORT": str(self.port), **environment}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "map_project.server"],
            cwd=settings.BASE_DIR,
            env={**os.environ, **own},
        )

    def stop(self) -> None:
        """Says so, and returns when nobody is let in any more."""
        self.process.send_signal(signal.SIGTERM)
        assert eventually(self.is_closed, 5.0), "it goes on accepting"

    def is_closed(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except ConnectionRefusedError:
            return True
        return False

    def is_up(self) -> bool:
        return self.process.poll() is None

    def connect(self, *parts: bytes) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        for part in parts:
            connection.sendall(part)
        return connection


@contextmanager
def server(**environment: str) -> Iterator[Server]:
    started = Server(**environment)
    try:
        wait_until_live(started.port, started.process)
        yield started
    finally:
        started.process.kill()
        started.process.wait(10)


@pytest.fixture
def run_path(tenant: Tenant) -> str:
    return f"/api/v1/agents/{AgentFactory.create(tenant=tenant).pk}/run"


def run_request(path: str, api: Api) -> bytes:
    return request(
        "POST", path, key=api.key, headers=[b"Content-Type: application/json"], body=BODY
    )


LIVE = request("GET", "/live").replace(b"Connection: close\r\n", b"")
LIVE_ANSWER = b'{"status":"ok"}'


def keep_alive(serving: Server) -> socket.socket:
    """A connection that was answered and stays open."""
    connection = serving.connect(LIVE)
    received = b""
    while not received.endswith(LIVE_ANSWER):
        received += connection.recv(65536)
    assert b"keep-alive" in received
    return connection


def answer_on(connection: socket.socket) -> Answer:
    with connection:
        return parse(b"".join(iter(lambda: connection.recv(65536), b"")))


def test_a_run_in_progress_is_answered_and_newcomers_are_refused(api: Api, run_path: str) -> None:
    whole = run_request(run_path, api)
    with server() as serving:
        unfinished = [serving.connect(whole[:-10]) for _ in range(4)]
        kept = keep_alive(serving)
        silent = serving.connect()
        serving.stop()

        # Longer than gunicorn keeps an idle connection.
        time.sleep(3)
        assert serving.is_up()
        assert kept.recv(1) == b""
        for connection in unfinished:
            connection.sendall(whole[-10:])
        answers = [answer_on(connection) for connection in unfinished]
        assert {answer.status for answer in answers} == {200}
        assert {answer.headers["connection"] for answer in answers} == {"close"}
        recorded = Execution.objects.filter(
            pk__in=[answer.json["execution_id"] for answer in answers]
        )
        assert recorded.count() == 4
        assert serving.process.wait(10) == 0
        kept.close()
        silent.close()


def test_a_run_that_waits_for_the_database_is_answered(api: Api, run_path: str) -> None:
    with server() as serving, ThreadPoolExecutor(1) as pool:
        client = LiveApi(serving.port, api.key)
        assert client.call("POST", run_path, raw=BODY).status == 200
        with psycopg.connect(database_url()) as session:
            session.execute("LOCK TABLE executions_execution IN EXCLUSIVE MODE")
            pending = pool.submit(client.call, "POST", run_path, raw=BODY)
            time.sleep(0.2)
            # In less time than a lock is waited for.
            serving.process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
            assert not pending.done()
        assert pending.result(10).status == 200
        assert serving.process.wait(10) == 0


def test_who_has_connected_before_is_still_served(api: Api, run_path: str) -> None:
    """Connections that the server has accepted when it is told to stop."""
    whole = run_request(run_path, api)
    with server(WEB_CONCURRENCY="1") as serving:
        slow = serving.connect(whole[:-10])
        waiting = [serving.connect(whole) for _ in range(5)]
        serving.stop()
        slow.sendall(whole[-10:])
        assert [answer_on(connection).status for connection in (slow, *waiting)] == [200] * 6
        assert serving.process.wait(10) == 0


def test_the_time_to_finish_is_bounded(api: Api, run_path: str) -> None:
    with server(GRACEFUL_TIMEOUT_SECONDS="1") as serving:
        with serving.connect(run_request(run_path, api)[:-10]):
            started = time.monotonic()
            serving.stop()
            assert serving.process.wait(10) == 0
        assert 0.9 < time.monotonic() - started < 8


def test_idle_connections_do_not_hold_it_up() -> None:
    with server() as serving:
        kept = keep_alive(serving)
        silent = serving.connect()
        started = time.monotonic()
        serving.stop()
        assert serving.process.wait(30) == 0
        assert time.monotonic() - started < 10
        kept.close()
        silent.close()
