"""The platform alone at 100 concurrent clients: the figures its first specification asked for."""

import secrets
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from statistics import quantiles

from benchmarks.compare import Side
from benchmarks.endpoints import ENDPOINTS, SHORT_HISTORY, Endpoint
from benchmarks.load import Load, wrk
from ratelimit.limiter import LimiterUnavailable, default_limiter

CLIENTS = 100
_PROBED_TENANT = uuid.UUID(int=0)
_PROBE_PAUSE_SECONDS = 0.005


@dataclass(frozen=True)
class Figure:
    """A 95th percentile and its bar."""

    name: str
    requests_per_second: float
    p95_ms: float
    below_ms: float
    errors: int

    def holds(self) -> bool:
        """Whether it is below its bar, with no errors."""
        return self.p95_ms < self.below_ms and not self.errors


def seed_figures(platform: Side, seconds: float) -> Iterator[Figure]:
    """Measures one after the other. Raises BenchError."""
    url = platform.server.url
    by_name = {endpoint.name: endpoint for endpoint in ENDPOINTS}
    yield _figure("CRUD of tools", platform, 100, lambda: _crud(url, seconds))
    with _limiter_probe() as checks:
        yield _figure("run", platform, 500, lambda: _load(by_name["run"], url, seconds))
    yield checks.figure()
    for name, offset in (("first", 0), ("last", 9_980)):
        page = replace(
            by_name["history-first"],
            path=f"/api/v1/history?limit=20&offset={offset}",
            keys=(SHORT_HISTORY,),
            is_right=lambda answer: len(answer["items"]) == 20 and answer["total"] == 10_000,
        )
        page.check(url)
        title = f"history of 10,000 rows, {name} page"
        yield _figure(title, platform, 200, partial(_load, page, url, seconds))


def _figure(name: str, platform: Side, below_ms: float, load: Callable[[], Load]) -> Figure:
    part = platform.measure(load)
    return Figure(name, part.requests_per_second, part.p95_ms, below_ms, part.errors)


def _load(endpoint: Endpoint, url: str, seconds: float) -> Load:
    return endpoint.load(url, connections=CLIENTS, seconds=seconds)


def _crud(url: str, seconds: float) -> Load:
    # A tenant that has no tools yet: the one that is measured by making some has tens of thousands.
    arguments = (SHORT_HISTORY, f"crud-{secrets.token_hex(4)}-")
    return wrk(url, connections=CLIENTS, seconds=seconds, script="crud.lua", arguments=arguments)


class _Checks:
    """Decisions of the limiter, asked for one after the other while the clients are at it."""

    def __init__(self) -> None:
        self._seconds: list[float] = []
        self._errors = 0

    def make(self, enough: threading.Event) -> None:
        limiter = default_limiter()
        while not enough.wait(_PROBE_PAUSE_SECONDS):
            started = time.perf_counter()
            try:
                limiter.take(_PROBED_TENANT, limit=1_000_000, window_seconds=60)
            except LimiterUnavailable:
                self._errors += 1
            self._seconds.append(time.perf_counter() - started)

    def figure(self) -> Figure:
        p95_ms = quantiles(self._seconds, n=20)[-1] * 1000
        rate = len(self._seconds) / sum(self._seconds)
        return Figure("limiter check, beside those runs", rate, p95_ms, 10, self._errors)


@contextmanager
def _limiter_probe() -> Iterator[_Checks]:
    checks, enough = _Checks(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        probing = pool.submit(checks.make, enough)
        try:
            yield checks
        finally:
            enough.set()
        probing.result()
