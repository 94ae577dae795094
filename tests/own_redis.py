"""A redis-server of a test's own, which it may kill, halt, starve and start again; and its limiter."""

import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from redis import BlockingConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from map_project.embedded import location
from map_project.embedded.accounts import account_for
from map_project.embedded.redis import Redis as EmbeddedRedis
from ratelimit.limiter import Decision, Limiter, LimiterUnavailable, Quota

TIMEOUT_SECONDS = 0.25
IN_TIME_SECONDS = TIMEOUT_SECONDS + 0.020
WINDOW = 600


class OwnRedis:
    """One server at one address, `unix` or TCP, up or down."""

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
        while not self._answers():
            assert time.monotonic() < deadline, "redis-server does not come up"
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

    def limiter(self, *, connections: int = 8, timeout_seconds: float = TIMEOUT_SECONDS) -> Limiter:
        """A limiter with a connection: to open one may take too long on a busy machine."""
        limiter = limiter_at(self.url, connections=connections, timeout_seconds=timeout_seconds)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with suppress(LimiterUnavailable):
                limiter.peek([Quota(uuid.uuid4(), 1, 1)])
                break
        return limiter

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except RedisConnectionError:
            return False


@contextmanager
def own_redis(*, unix: bool = False) -> Iterator[OwnRedis]:
    """A server that is up, and gone afterwards with all its files."""
    # The path of a socket has a hundred bytes: pytest's folders are too deep.
    folder = Path(tempfile.mkdtemp(prefix="map-"))
    server = OwnRedis(folder, unix=unix)
    try:
        server.start()
        yield server
    finally:
        server.client.close()
        server.kill()
        shutil.rmtree(folder)


def limiter_at(
    url: str, *, connections: int = 8, timeout_seconds: float = TIMEOUT_SECONDS
) -> Limiter:
    """A limiter with the options of the settings at another address."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        driver_info=None,
    )
    return Limiter(pool)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def take(limiter: Limiter, tenant: uuid.UUID, limit: int = 100) -> Decision:
    return limiter.take(tenant, limit=limit, window_seconds=WINDOW)


def seconds_to_refuse(call: Callable[[], object]) -> float:
    start = time.monotonic()
    with pytest.raises(LimiterUnavailable):
        call()
    return time.monotonic() - start


def refusals(call: Callable[[], object]) -> list[float]:
    """The seconds until each refusal: until one is in time, since the machine may be busy."""
    seconds: list[float] = []
    while len(seconds) < 10 and not (seconds and seconds[-1] <= IN_TIME_SECONDS):
        seconds.append(seconds_to_refuse(call))
    return seconds


def is_refused_in_time(call: Callable[[], object]) -> bool:
    return refusals(call)[-1] <= IN_TIME_SECONDS
