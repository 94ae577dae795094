"""A redis-server for one test, which may kill, stop and restart it, and a limiter on it."""

import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from django.conf import settings
from django_redis.pool import get_connection_factory
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from map_project.embedded import location
from map_project.embedded.accounts import account_for
from map_project.embedded.redis import Redis as EmbeddedRedis
from ratelimit.limiter import Decision, Limiter, LimiterUnavailable, Quota
from tests.live import free_port

IN_TIME_SECONDS = 0.25 + 0.020
WINDOW = 600


class OwnRedis:
    """A server at a fixed address, a Unix socket or TCP."""

    def __init__(self, folder: Path, *, unix: bool = False) -> None:
        self.folder = folder
        self.port = 0 if unix else free_port()
        self.url = f"unix://{folder}/redis.sock" if unix else f"redis://127.0.0.1:{self.port}"
        self.client = Redis.from_url(self.url, protocol=2, retry=Retry(NoBackoff(), 0))
        embedded = EmbeddedRedis(location(folder), account_for(folder), durable=False)
        self._program = embedded.executable()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        listen = ["--port", str(self.port), "--bind", "127.0.0.1"]
        listen += [] if self.port else ["--unixsocket", str(self.folder / "redis.sock")]
        command = [str(self._program), *listen, "--save", "", "--dir", str(self.folder)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while not self._is_ready():
            assert time.monotonic() < deadline, "redis-server does not start"
            time.sleep(0.01)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    @contextmanager
    def halted(self) -> Iterator[None]:
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def limiter(self, *, timeout_ms: int | None = None) -> Limiter:
        """Return a limiter that has a connection: on a busy machine it may take long to open one."""
        limiter = limiter_at(self.url, timeout_ms=timeout_ms)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with suppress(LimiterUnavailable):
                limiter.peek([Quota(uuid.uuid4(), 1, 1)])
                break
        return limiter

    def _is_ready(self) -> bool:
        try:
            return bool(self.client.ping())
        except RedisConnectionError:
            return False


@contextmanager
def own_redis(*, unix: bool = False) -> Iterator[OwnRedis]:
    """Start a server; stop it and delete its files at the end."""
    # The path of a socket is limited to about 100 bytes, which pytest's temporary folders exceed.
    folder = Path(tempfile.mkdtemp(prefix="map-"))
    server = OwnRedis(folder, unix=unix)
    try:
        server.start()
        yield server
    finally:
        server.client.close()
        server.kill()
        shutil.rmtree(folder)


def limiter_at(url: str, *, timeout_ms: int | None = None) -> Limiter:
    """Return a limiter with the client of the settings, but another address and timeout."""
    options = dict(settings.CACHES["default"]["OPTIONS"])
    if timeout_ms:
        options["SOCKET_CONNECT_TIMEOUT"] = options["SOCKET_TIMEOUT"] = timeout_ms / 1000
    factory = get_connection_factory(options)
    # Not `factory.connect`, which would share a pool between tests if a port is used again.
    pool = factory.get_connection_pool(factory.make_connection_params(url))
    return Limiter(Redis(connection_pool=pool))


def take(limiter: Limiter, tenant: uuid.UUID, limit: int = 100) -> Decision:
    return limiter.take(tenant, limit=limit, window_seconds=WINDOW)


def seconds_to_refuse(call: Callable[[], object]) -> float:
    start = time.monotonic()
    with pytest.raises(LimiterUnavailable):
        call()
    return time.monotonic() - start


def refusals(call: Callable[[], object]) -> list[float]:
    """Repeat a call that fails until one fails in time: the machine may be busy. Return the seconds."""
    seconds: list[float] = []
    while len(seconds) < 10 and not (seconds and seconds[-1] <= IN_TIME_SECONDS):
        seconds.append(seconds_to_refuse(call))
    return seconds


def is_refused_in_time(call: Callable[[], object]) -> bool:
    return refusals(call)[-1] <= IN_TIME_SECONDS
