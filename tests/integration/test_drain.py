"""SIGTERM: no new connections are accepted, requests in progress finish, and the exit code is 0."""

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

BODY = b'{"prompt": "What is new?", "model": "gpt-4o"}'


class Server:
    """A server that the test stops."""

    def __init__(self, **environment: str) -> None:
        self.port = free_port()
        variables = {"DATABASE_URL": database_url(), "REDIS_URL": settings.REDIS_URL}
        variables |= {"HOST": "127.0.0.1", "PORT": str(self.port), **environment}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "map_project.server"],
            cwd=settings.BASE_DIR,
            env={**os.environ, **variables},
        )

    def stop(self) -> None:
        """Send SIGTERM, and wait until connections are refused."""
        self.process.send_signal(signal.SIGTERM)
        assert eventually(self.is_closed, 5.0), "the server still accepts connections"

    def is_closed(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except ConnectionRefusedError:
            return True
        return False

    def is_running(self) -> bool:
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
LIVE_RESPONSE = b'{"status":"ok"}'


def keep_alive(serving: Server) -> socket.socket:
    """Return an open connection on which a response was received."""
    connection = serving.connect(LIVE)
    received = b""
    while not received.endswith(LIVE_RESPONSE):
        received += connection.recv(65536)
    assert b"keep-alive" in received
    return connection


def read_response(connection: socket.socket) -> Answer:
    with connection:
        return parse(b"".join(iter(lambda: connection.recv(65536), b"")))


def test_runs_in_progress_finish_and_new_connections_are_refused(api: Api, run_path: str) -> None:
    sent = run_request(run_path, api)
    with server() as serving:
        unfinished = [serving.connect(sent[:-10]) for _ in range(4)]
        kept = keep_alive(serving)
        silent = serving.connect()
        serving.stop()

        # Longer than gunicorn keeps an idle connection.
        time.sleep(3)
        assert serving.is_running()
        assert kept.recv(1) == b""
        for connection in unfinished:
            connection.sendall(sent[-10:])
        responses = [read_response(connection) for connection in unfinished]
        assert {response.status for response in responses} == {200}
        assert {response.headers["connection"] for response in responses} == {"close"}
        recorded = Execution.objects.filter(
            pk__in=[response.json["execution_id"] for response in responses]
        )
        assert recorded.count() == 4
        assert serving.process.wait(10) == 0
        kept.close()
        silent.close()


def test_a_run_that_waits_for_the_database_finishes(api: Api, run_path: str) -> None:
    with server() as serving, ThreadPoolExecutor(1) as pool:
        client = LiveApi(serving.port, api.key)
        assert client.call("POST", run_path, raw=BODY).status == 200
        with psycopg.connect(database_url()) as session:
            session.execute("LOCK TABLE executions_execution IN EXCLUSIVE MODE")
            pending = pool.submit(client.call, "POST", run_path, raw=BODY)
            time.sleep(0.2)
            # The lock is released before the lock timeout.
            serving.process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
            assert not pending.done()
        assert pending.result(10).status == 200
        assert serving.process.wait(10) == 0


def test_connections_accepted_before_sigterm_are_served(api: Api, run_path: str) -> None:
    sent = run_request(run_path, api)
    with server(WEB_CONCURRENCY="1") as serving:
        slow = serving.connect(sent[:-10])
        waiting = [serving.connect(sent) for _ in range(5)]
        serving.stop()
        slow.sendall(sent[-10:])
        assert [read_response(connection).status for connection in (slow, *waiting)] == [200] * 6
        assert serving.process.wait(10) == 0


def test_the_time_to_finish_is_limited(api: Api, run_path: str) -> None:
    with server(GRACEFUL_TIMEOUT_SECONDS="1") as serving:
        with serving.connect(run_request(run_path, api)[:-10]):
            started = time.monotonic()
            serving.stop()
            assert serving.process.wait(10) == 0
        assert 0.9 < time.monotonic() - started < 8


def test_idle_connections_do_not_delay_the_exit() -> None:
    with server() as serving:
        kept = keep_alive(serving)
        silent = serving.connect()
        started = time.monotonic()
        serving.stop()
        assert serving.process.wait(30) == 0
        assert time.monotonic() - started < 10
        kept.close()
        silent.close()
