"""Redis killed, halted, starved, demoted, restarted, talking nonsense: 503 in time, and back by itself."""

import signal
import socket
import socketserver
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from redis.exceptions import RedisError

from ratelimit.limiter import Decision, Limiter, LimiterUnavailable, Quota, window_key
from tests.own_redis import TIMEOUT_SECONDS, OwnRedis, limiter_at, own_redis

IN_TIME_SECONDS = TIMEOUT_SECONDS + 0.020
WINDOW = 600


@pytest.fixture(params=["tcp", "unix"])
def server(request: pytest.FixtureRequest) -> Iterator[OwnRedis]:
    with own_redis(unix=request.param == "unix") as redis:
        yield redis


@pytest.fixture
def tenant() -> uuid.UUID:
    return uuid.uuid4()


def take(limiter: Limiter, tenant: uuid.UUID, limit: int = 100) -> Decision:
    return limiter.take(tenant, limit=limit, window_seconds=WINDOW)


def used(limiter: Limiter, tenant: uuid.UUID) -> int:
    (usage,) = limiter.peek([Quota(tenant, 100, WINDOW)])
    return usage.used


def seconds_to_refuse(call: Callable[[], object]) -> float:
    start = time.monotonic()
    with pytest.raises(LimiterUnavailable):
        call()
    return time.monotonic() - start


def is_refused_in_time(call: Callable[[], object]) -> bool:
    """At the best of three: the machine may be busy with something else."""
    return min(seconds_to_refuse(call) for _ in range(3)) <= IN_TIME_SECONDS


def recovers(limiter: Limiter, tenant: uuid.UUID) -> bool:
    """Whether calls get through again, with no help, within a second."""
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        with suppress(LimiterUnavailable):
            return take(limiter, tenant).allowed
        time.sleep(0.01)
    return False


def in_threads(count: int, call: Callable[[], Any]) -> list[Any]:
    """What `count` simultaneous calls return, or raise."""
    barrier = threading.Barrier(count)

    def one() -> Any:
        barrier.wait()
        try:
            return call()
        except LimiterUnavailable as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return [future.result() for future in [pool.submit(one) for _ in range(count)]]


def test_killed(server: OwnRedis, tenant: uuid.UUID) -> None:
    limiter = server.limiter()
    take(limiter, tenant)
    server.kill()
    assert is_refused_in_time(lambda: take(limiter, tenant))
    server.start()
    assert recovers(limiter, tenant)


def test_halted(server: OwnRedis, tenant: uuid.UUID) -> None:
    limiter = server.limiter()
    take(limiter, tenant)
    with server.halted():
        assert is_refused_in_time(lambda: take(limiter, tenant))
    assert recovers(limiter, tenant)
    assert used(limiter, tenant) <= 5  # each call was executed once or not at all


def test_a_stall_longer_than_the_timeout_executes_a_call_at_most_once(
    server: OwnRedis, tenant: uuid.UUID
) -> None:
    limiter = server.limiter()
    take(limiter, tenant)
    with server.halted():
        start = time.monotonic()
        assert seconds_to_refuse(lambda: take(limiter, tenant)) >= TIMEOUT_SECONDS
        time.sleep(max(0.35 - (time.monotonic() - start), 0))
    assert recovers(limiter, tenant)
    assert used(limiter, tenant) <= 3


def test_a_stall_shorter_than_the_timeout_is_waited_for(
    server: OwnRedis, tenant: uuid.UUID
) -> None:
    limiter = server.limiter()
    take(limiter, tenant)
    server.signal(signal.SIGSTOP)
    timer = threading.Timer(0.1, server.signal, [signal.SIGCONT])
    timer.start()
    assert take(limiter, tenant).remaining == 98
    timer.join()


def test_many_waiting_for_few_connections_are_all_refused_in_time(
    server: OwnRedis, tenant: uuid.UUID
) -> None:
    limiter = server.limiter(connections=1)
    take(limiter, tenant)
    with server.halted():
        start = time.monotonic()
        results = in_threads(8, lambda: take(limiter, tenant))
        seconds = time.monotonic() - start
    assert all(isinstance(result, LimiterUnavailable) for result in results)
    assert seconds <= IN_TIME_SECONDS + 0.2  # eight threads and their start, on a busy machine
    assert recovers(limiter, tenant)


def test_a_restart_costs_no_call_for_the_connections_left_over(
    server: OwnRedis, tenant: uuid.UUID
) -> None:
    limiter = server.limiter()
    in_threads(8, lambda: take(limiter, tenant))
    server.kill()
    server.start()
    # What was in memory is gone; the first call of each of the old connections passes all the same.
    results = in_threads(8, lambda: take(limiter, tenant))
    assert sorted(result.remaining for result in results) == list(range(92, 100))


def test_scripts_flushed_in_mid_load(server: OwnRedis, tenant: uuid.UUID) -> None:
    limiter = server.limiter()
    done = threading.Event()

    def flush() -> None:
        while not done.is_set():
            server.client.script_flush()

    flusher = threading.Thread(target=flush)
    flusher.start()
    try:
        results = [
            decision
            for _ in range(30)
            for decision in in_threads(8, lambda: take(limiter, tenant, limit=150))
        ]
    finally:
        done.set()
        flusher.join()
    assert sum(decision.allowed for decision in results) == 150


def test_out_of_memory(server: OwnRedis, tenant: uuid.UUID) -> None:
    limiter = server.limiter()
    take(limiter, tenant, limit=1)
    server.client.config_set("maxmemory", 1)
    assert is_refused_in_time(lambda: take(limiter, tenant))
    # A denial writes nothing, and is answered.
    assert not take(limiter, tenant, limit=1).allowed
    server.client.config_set("maxmemory", 0)
    assert take(limiter, tenant).remaining == 98


def test_replica(server: OwnRedis, tenant: uuid.UUID) -> None:
    limiter = server.limiter()
    take(limiter, tenant)
    server.client.replicaof("127.0.0.1", "1")
    assert is_refused_in_time(lambda: take(limiter, tenant))
    server.client.replicaof("NO", "ONE")
    assert take(limiter, tenant).remaining == 98


def test_something_else_under_the_key(server: OwnRedis, tenant: uuid.UUID) -> None:
    limiter = server.limiter()
    key = window_key(tenant, WINDOW)
    for foreign in (["LPUSH", key, "x"], ["SET", key, "x"], ["SET", key, b"\x7f" * 29]):
        server.client.execute_command(*foreign)
        assert is_refused_in_time(lambda: take(limiter, tenant))
        assert take(limiter, uuid.uuid4()).allowed
        limiter.reset(tenant, WINDOW)
        assert take(limiter, tenant).remaining == 99
        limiter.reset(tenant, WINDOW)


def test_another_script_that_does_not_end(server: OwnRedis, tenant: uuid.UUID) -> None:
    limiter = server.limiter()
    take(limiter, tenant)
    server.client.config_set("lua-time-limit", 50)
    endless = threading.Thread(target=_run_endless_script, args=[server])
    endless.start()
    time.sleep(0.02)
    assert is_refused_in_time(lambda: take(limiter, tenant))
    server.client.script_kill()
    endless.join()
    assert recovers(limiter, tenant)


def _run_endless_script(server: OwnRedis) -> None:
    with suppress(RedisError):
        server.client.eval("while true do end", 0)


# Servers that only look like Redis


class Impostor(socketserver.ThreadingTCPServer):
    """Answers whatever it is sent with `reply`, and counts."""

    daemon_threads = True

    def __init__(self, reply: Callable[[socket.socket], None]) -> None:
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)
        self.reply = reply
        self.received = 0

    def finish_request(self, request: Any, client_address: Any) -> None:
        with suppress(OSError):
            while request.recv(65536):
                self.received += 1
                self.reply(request)


@contextmanager
def impostor(reply: Callable[[socket.socket], None]) -> Iterator[tuple[Impostor, Limiter]]:
    with Impostor(reply) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server, limiter_at(f"redis://127.0.0.1:{server.server_address[1]}")
        finally:
            server.shutdown()
            thread.join()


NONSENSE = {
    "another type": b"+OK\r\n",
    "nothing": b"*-1\r\n",
    "no text": b"$-1\r\n",
    "too few": b"*2\r\n:1\r\n:1\r\n",
    "too many": b"*6\r\n:1\r\n:1\r\n:0\r\n:1\r\n:1\r\n:1\r\n",
    "no number": b"*5\r\n:1\r\n:1\r\n:0\r\n:1\r\n$1\r\n1\r\n",
    "negative": b"*5\r\n:1\r\n:1\r\n:0\r\n:-1\r\n:1\r\n",
    "over the limit": b"*5\r\n:1\r\n:101\r\n:0\r\n:1\r\n:1\r\n",
    "denied under the limit": b"*5\r\n:0\r\n:5\r\n:1\r\n:1\r\n:1\r\n",
    "neither allowed nor denied": b"*5\r\n:7\r\n:5\r\n:1\r\n:1\r\n:1\r\n",
    "no protocol": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "bytes": bytes(range(256)),
    "huge": b"*100000\r\n",
    "deep": b"*1\r\n" * 10_000,
    "unfinished": b"*5\r\n:1\r\n:1\r\n",
    "loading": b"-LOADING Redis is loading the dataset in memory\r\n",
    "misconfigured": b"-MISCONF Redis is configured to save RDB snapshots\r\n",
    "closed to us": b"-NOAUTH Authentication required.\r\n",
    "an error": b"-ERR anything\r\n",
}


@pytest.mark.parametrize("reply", NONSENSE.values(), ids=NONSENSE)
def test_nonsense(reply: bytes, tenant: uuid.UUID) -> None:
    with impostor(lambda client: client.sendall(reply)) as (server, limiter):
        assert is_refused_in_time(lambda: take(limiter, tenant))
        assert server.received == 3  # one each


def test_a_script_that_is_never_known_is_sent_twice_at_most(tenant: uuid.UUID) -> None:
    with impostor(lambda client: client.sendall(b"-NOSCRIPT No such\r\n")) as (server, limiter):
        assert is_refused_in_time(lambda: take(limiter, tenant))
        assert server.received == 6


def test_a_reply_that_trickles_in(tenant: uuid.UUID) -> None:
    def trickle(client: socket.socket) -> None:
        for byte in b"*5\r\n:1\r\n:1\r\n:0\r\n:1\r\n:1\r\n":
            client.sendall(bytes([byte]))
            time.sleep(0.05)

    with impostor(trickle) as (_, limiter):
        assert is_refused_in_time(lambda: take(limiter, tenant))


def test_a_connection_closed_instead_of_a_reply(tenant: uuid.UUID) -> None:
    with impostor(lambda client: client.shutdown(socket.SHUT_RDWR)) as (server, limiter):
        assert is_refused_in_time(lambda: take(limiter, tenant))
        assert server.received == 3


def test_a_second_reply_is_given_to_nobody(tenant: uuid.UUID) -> None:
    numbers = iter(range(1, 100))

    def twice(client: socket.socket) -> None:
        answer = b"*5\r\n:1\r\n:%d\r\n:0\r\n:1\r\n:1\r\n" % next(numbers)
        client.sendall(answer + b"*5\r\n:1\r\n:99\r\n:0\r\n:1\r\n:1\r\n")

    with impostor(twice) as (_, limiter):
        assert [take(limiter, tenant).remaining for _ in range(5)] == [99, 98, 97, 96, 95]


def test_a_name_that_does_not_resolve_in_time(
    monkeypatch: pytest.MonkeyPatch, tenant: uuid.UUID
) -> None:
    released = threading.Event()

    def hang(*_: object) -> Any:
        released.wait(5)
        raise OSError("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    try:
        assert is_refused_in_time(lambda: take(limiter_at("redis://a.name"), tenant))
    finally:
        released.set()


def test_an_address_that_does_not_accept(tenant: uuid.UUID) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, _filled(server):
        url = f"redis://127.0.0.1:{server.getsockname()[1]}"
        assert is_refused_in_time(lambda: take(limiter_at(url), tenant))


@contextmanager
def _filled(server: socket.socket) -> Iterator[None]:
    """With a queue of connections so long that one more hangs."""
    clients = [socket.socket() for _ in range(4)]
    for client in clients:
        client.setblocking(False)
        client.connect_ex(server.getsockname())
    time.sleep(0.05)
    yield
    for client in clients:
        client.close()


def test_a_connection_made_too_late_serves_the_next_call(
    server: OwnRedis, monkeypatch: pytest.MonkeyPatch, tenant: uuid.UUID
) -> None:
    limiter = server.limiter(connections=1)
    make = limiter._connections._make

    def slow() -> Any:
        time.sleep(0.4)
        return make()

    monkeypatch.setattr(limiter._connections, "_make", slow)
    assert seconds_to_refuse(lambda: take(limiter, tenant)) < 0.4
    time.sleep(0.5)
    start = time.monotonic()
    assert take(limiter, tenant).allowed
    assert time.monotonic() - start < 0.2
