"""Compare the limiter with others on one Redis: server time, worst call, memory, client time.

    python -m benchmarks.limiter [--redis-url URL]

Without a URL it starts its own Redis. Rounds alternate between the algorithms, the results are
medians, and ratios are computed within a run. Exits with 1 if a bar is not met.
"""

import argparse
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from django.conf import settings
from django_redis.pool import get_connection_factory
from redis import Redis

from benchmarks.limiter_algorithms import (
    GCRA,
    LEAN_GCRA,
    SORTED_SET,
    Algorithm,
    limits_library,
    script,
    this_limiter,
)
from map_project.embedded import location
from map_project.embedded.servers import running
from ratelimit.limiter import Limiter

CHECKOUT = Path(__file__).resolve().parent.parent
QUOTAS = (100, 1_000, 10_000, 100_000)
ROUNDS = 41
CALLS = 100  # per round; few, so that interference by other processes causes outliers
WINDOW = 2_000
IDLE_SECONDS = 30


class Bench:
    """The measurements and their bars."""

    def __init__(self, redis: Redis, url: str) -> None:
        self.redis, self.url = redis, url
        self.this_limiter = this_limiter(redis)
        self.gcra = script(redis, "GCRA", GCRA)
        self.sorted_set = script(redis, "sorted-set log", SORTED_SET)
        self.limits = limits_library(redis, url)
        lean = script(redis, "GCRA, minimal", LEAN_GCRA)
        self.all = [self.this_limiter, self.gcra, lean, self.sorted_set, self.limits]
        self.failed = False

    def run(self) -> bool:
        """Print all measurements. Return whether all bars are met."""
        self.server_time()
        self.sliding()
        self.worst_trim()
        self.memory()
        self.client_time()
        return not self.failed

    def bar(self, text: str, value: float, limit: float) -> None:
        holds = value <= limit
        self.failed |= not holds
        print(f"  {'HOLDS' if holds else 'FAILS'}  {text}: {value:,.2f} (at most {limit:,.2f})")

    # Server time

    def server_time(self) -> None:
        print("Server us per check, allowed / denied, by quota")
        allowed: dict[tuple[str, int], list[float]] = {}
        denied: dict[tuple[str, int], list[float]] = {}
        for quota in QUOTAS:
            for algorithm, allow_us, deny_us in self.rounds(quota):
                allowed.setdefault((algorithm.name, quota), []).append(allow_us)
                denied.setdefault((algorithm.name, quota), []).append(deny_us)
        print(f"  {'':24}" + "".join(f"{quota:>16,}" for quota in QUOTAS))
        for algorithm in self.all:
            cells = [
                f"{median(allowed[algorithm.name, quota]):.1f} / "
                f"{median(denied[algorithm.name, quota]):.1f}"
                for quota in QUOTAS
            ]
            print(f"  {algorithm.name:24}" + "".join(f"{cell:>16}" for cell in cells))
        self.bar("a denial, x GCRA, worst quota", self.worst_ratio(denied), 1.0)
        self.bar("an allow, x GCRA, worst quota", self.worst_ratio(allowed), 1.3)
        medians = [median(allowed[self.this_limiter.name, quota]) for quota in QUOTAS]
        self.bar("an allow, slowest x fastest quota", max(medians) / min(medians), 1.3)

    def worst_ratio(self, times: dict[tuple[str, int], list[float]]) -> float:
        """Return the worst ratio over the quotas, each the median of the rounds."""
        pairs = (
            zip(times[self.this_limiter.name, quota], times[self.gcra.name, quota], strict=True)
            for quota in QUOTAS
        )
        return max(median(own / gcra for own, gcra in pair) for pair in pairs)

    def rounds(self, quota: int) -> Iterator[tuple[Algorithm, float, float]]:
        """Measure the last admitted and the first denied calls, on copies of an almost full window."""
        almost_full = {algorithm.name: new_key() for algorithm in self.all}
        for algorithm in self.all:
            self.send(algorithm, almost_full[algorithm.name], quota, quota - CALLS)
        for _ in range(ROUNDS):
            for algorithm in self.all:
                key = new_key()
                self.redis.copy(almost_full[algorithm.name], key)
                allow_us = self.cost(algorithm, key, quota)
                while self.send(algorithm, key, quota, CALLS):
                    pass
                yield algorithm, allow_us, self.cost(algorithm, key, quota)
                self.redis.delete(key)
        self.redis.delete(*almost_full.values())

    def cost(
        self, algorithm: Algorithm, key: str, quota: int, calls: int = CALLS, window: int = WINDOW
    ) -> float:
        """Return the server time of a check in microseconds."""
        self.redis.config_resetstat()
        self.send(algorithm, key, quota, calls, window)
        return self.evalsha_us() / calls

    def evalsha_us(self) -> float:
        return float(self.redis.info("commandstats")["cmdstat_evalsha"]["usec"])

    def send(
        self, algorithm: Algorithm, key: str, quota: int, calls: int, window: int = WINDOW
    ) -> bool:
        """Send `calls` checks. Return whether the last one was admitted."""
        allowed: object = False
        for start in range(0, calls, 500):
            pipeline = self.redis.pipeline(transaction=False)
            for _ in range(min(500, calls - start)):
                commands = algorithm.check(key, quota, window)
                for command in commands:
                    pipeline.execute_command(*command)
            reply = pipeline.execute()[-len(commands)]
            allowed = reply[0] if isinstance(reply, list) else reply
        return bool(allowed)

    def sliding(self) -> None:
        """Measure a tenant at its quota: a unit is free shortly before each call."""
        print(
            "Server us per allowed check while units become free (500 per second, so caches are cold)"
        )
        for algorithm in self.all:
            key = new_key()
            self.paced(algorithm, key, seconds=1.2)
            self.redis.config_resetstat()
            calls = self.paced(algorithm, key, seconds=2.0)
            print(f"  {algorithm.name:24}{self.evalsha_us() / calls:8.1f}")

    def paced(self, algorithm: Algorithm, key: str, seconds: float) -> int:
        calls, start = 0, time.monotonic()
        while (now := time.monotonic() - start) < seconds:
            if due := int(now * 490) - calls:
                self.send(algorithm, key, 500, due, window=1)
                calls += due
            time.sleep(0.005)
        return calls

    # Worst call

    def worst_trim(self) -> None:
        quota = QUOTAS[-1]
        print(
            f"Worst call: {quota - 1:,} units become free at once, after {IDLE_SECONDS} idle seconds"
        )
        keys = {algorithm.name: new_key() for algorithm in reversed(self.all)}
        for algorithm in reversed(self.all):
            self.send(algorithm, keys[algorithm.name], quota, quota - 1, IDLE_SECONDS)
        filled = time.monotonic()
        time.sleep(IDLE_SECONDS / 5)  # the last unit becomes free this much later
        for algorithm in self.all:
            self.send(algorithm, keys[algorithm.name], quota, 1, IDLE_SECONDS)
        time.sleep(IDLE_SECONDS + 0.1 - (time.monotonic() - filled))
        worst = {}
        for algorithm in self.all:
            copies = [new_key() for _ in range(3)]
            for copy in copies:
                self.redis.copy(keys[algorithm.name], copy)
            costs = [self.cost(algorithm, copy, quota, 1, IDLE_SECONDS) for copy in copies]
            worst[algorithm.name] = median(costs) / 1000
            self.redis.delete(*copies)
            print(f"  {algorithm.name:24}{worst[algorithm.name]:8.2f} ms")
        self.redis.delete(*keys.values())
        self.bar("the worst trim at 100,000, ms", worst[self.this_limiter.name], 0.3)

    # Memory

    def memory(self) -> None:
        print("Memory of a full window, bytes, by quota (key: 18 characters)")
        own_sizes = {}
        for algorithm in self.all:
            sizes = [self.size(algorithm, short_key(), quota) for quota in QUOTAS]
            if algorithm is self.this_limiter:
                own_sizes = dict(zip(QUOTAS, sizes, strict=True))
            print(f"  {algorithm.name:24}" + "".join(f"{size:>16,}" for size in sizes))
        in_production = self.size(self.this_limiter, new_key(), 100)
        print(f"  with the key of a tenant, {len(new_key())} characters: {in_production:,} at 100")
        self.bar("memory at 100, bytes", own_sizes[100], 520)
        self.bar("memory at 100,000, bytes", own_sizes[100_000], 460_000)

    def size(self, algorithm: Algorithm, key: str, quota: int) -> int:
        self.send(algorithm, key, quota, quota)
        size = self.redis.memory_usage(key, samples=0)
        self.redis.delete(key)
        return int(size or 0)

    # Client time

    def client_time(self) -> None:
        print("Client us per check, and per PING of the same client")
        client, tenant = configured_client(self.url), uuid.uuid4()
        limiter = Limiter(client)
        calls: dict[str, Callable[[], object]] = {
            "PING": client.ping,
            "allowed": lambda: limiter.take(tenant, limit=1_000_000, window_seconds=WINDOW),
            "denied": lambda: limiter.take(tenant, limit=1, window_seconds=WINDOW),
        }
        times: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(ROUNDS):
            for name, call in calls.items():
                times[name].append(timed_us(call))
        for name in calls:
            print(f"  {name:24}{median(times[name]):8.1f}")
        pairs = list(zip(times["allowed"], times["PING"], strict=True))
        self.bar("a check, x PING", median(check / ping for check, ping in pairs), 1.8)
        limiter.reset(tenant, WINDOW)
        client.connection_pool.disconnect()


def configured_client(url: str) -> Redis:
    """Return the client of the settings at `url`, with timeouts for a busy machine."""
    options = settings.CACHES["default"]["OPTIONS"]
    slow = options | {"SOCKET_CONNECT_TIMEOUT": 5, "SOCKET_TIMEOUT": 5}
    client: Redis = get_connection_factory(slow).connect(url)
    return client


def timed_us(call: Callable[[], object], times: int = 300) -> float:
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times * 1_000_000


def new_key() -> str:
    return f"ratelimit:1:{{{uuid.uuid4()}}}:60"


def short_key() -> str:
    return "ratelimit:1:{1}:60"


@contextmanager
def redis_url(given: str | None) -> Iterator[str]:
    if given:
        yield given
        return
    own = location(CHECKOUT, "bench")
    with running(own, postgres=False, durable=False):
        yield own.redis_url


def main() -> int:
    os.environ["DJANGO_SETTINGS_MODULE"] = "map_project.settings"
    parser = argparse.ArgumentParser(description="Compare the limiter with others on one Redis.")
    parser.add_argument("--redis-url", help="the Redis to use; without it one is started")
    with redis_url(parser.parse_args().redis_url) as url, Redis.from_url(url, protocol=2) as redis:
        server = redis.info("server")
        memory = redis.info("memory")["mem_allocator"]
        print(f"Redis {server.get('redis_version')}, {memory}, {server.get('arch_bits')} bits")
        return 0 if Bench(redis, url).run() else 1


if __name__ == "__main__":
    sys.exit(main())
