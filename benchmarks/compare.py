"""Measure the peer and the platform in turn, and compare their medians with the bars."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.endpoints import Bar, Endpoint
from benchmarks.load import Load
from benchmarks.processes import Family, machine_cpu_seconds, own_cpu_seconds
from benchmarks.servers import Server

# A slice is long enough for this many responses per connection, up to the maximum. wrk drops requests in
# progress at the end, so in a short slice slow responses would not be counted.
_RESPONSES_PER_CONNECTION = 5
_MAX_SECONDS = 45.0


@dataclass(frozen=True)
class Slice:
    """Measurements of one side under load."""

    requests: int
    errors: int
    requests_per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    cpu_us: float  # per request: server processes, database and Redis
    others_cores: float  # used by programs that are not part of the benchmark


@dataclass(frozen=True)
class Side:
    """A server, and the processes that work for it."""

    server: Server
    workers: Family
    before_load: Callable[[], None]

    def measure(self, load: Callable[[], Load]) -> Slice:
        """Measure one slice. Raises BenchError."""
        self.workers.wait_until_idle()
        self.before_load()
        workers_before, machine_before = self.workers.cpu_seconds(), _machine_without_own()
        result = load()
        cpu_seconds = self.workers.cpu_seconds() - workers_before
        others_seconds = _machine_without_own() - machine_before - cpu_seconds
        return Slice(
            requests=result.requests,
            errors=result.errors,
            requests_per_second=result.requests_per_second,
            p50_ms=result.p50_ms,
            p95_ms=result.p95_ms,
            p99_ms=result.p99_ms,
            cpu_us=cpu_seconds / max(result.requests, 1) * 1e6,
            others_cores=max(others_seconds, 0) / result.seconds,
        )


@dataclass
class Comparison:
    """An endpoint at a number of connections, with one slice of each side per round."""

    endpoint: Endpoint
    connections: int
    peer: list[Slice] = field(default_factory=list)
    platform: list[Slice] = field(default_factory=list)

    def ratio(self, figure: str) -> float:
        """Return the ratio of the medians, platform divided by peer."""
        return _median(self.platform, figure) / (_median(self.peer, figure) or float("inf"))

    def ratios(self, figure: str) -> list[float]:
        """Return the ratios of adjacent slices. Their spread shows how reliable they are."""
        pairs = zip(self.platform, self.peer, strict=True)
        return [
            getattr(platform, figure) / (getattr(peer, figure) or 1) for platform, peer in pairs
        ]

    @property
    def bars(self) -> tuple[Bar, ...]:
        """The bars of this comparison."""
        return self.endpoint.bars_at(self.connections)

    def errors(self) -> int:
        """Return the number of responses that are not 2xx and of failed connections, of both sides."""
        return sum(part.errors for part in [*self.peer, *self.platform])

    def failed_bars(self) -> list[Bar]:
        """Return the bars that do not hold."""
        return [bar for bar in self.bars if not bar.holds(self.ratio(bar.figure))]

    def holds(self) -> bool:
        """Return whether all bars hold and there are no errors."""
        return not self.failed_bars() and not self.errors()


def compare(
    endpoint: Endpoint,
    peer: Side,
    platform: Side,
    *,
    connections: int,
    seconds: float,
    rounds: int,
    warm_seconds: float,
) -> Comparison:
    """Warm up both sides, then measure them in turn. Raises BenchError."""

    def measure(side: Side, duration: float) -> Slice:
        part = side.measure(
            lambda: endpoint.load(side.server.url, connections=connections, seconds=duration)
        )
        _print_slice(endpoint, connections, side, part)
        return part

    result = Comparison(endpoint, connections)
    durations = {
        side.server: _duration(measure(side, warm_seconds), connections, seconds)
        for side in (peer, platform)
    }
    for _ in range(rounds):
        for side, slices in ((peer, result.peer), (platform, result.platform)):
            slices.append(measure(side, durations[side.server]))
    return result


def _duration(warm: Slice, connections: int, seconds: float) -> float:
    needed = _RESPONSES_PER_CONNECTION * connections / max(warm.requests_per_second, 0.1)
    return max(seconds, min(needed, _MAX_SECONDS))


def _machine_without_own() -> float:
    return machine_cpu_seconds() - own_cpu_seconds()


def _median(slices: Sequence[Slice], figure: str) -> float:
    return float(median(getattr(part, figure) for part in slices))


def _print_slice(endpoint: Endpoint, connections: int, side: Side, part: Slice) -> None:
    print(
        f"  {endpoint.name:14} c={connections:<3} {side.server.name:9} "
        f"{part.requests_per_second:8.1f}/s  p50 {part.p50_ms:7.1f} ms  p99 {part.p99_ms:7.1f} ms  "
        f"{part.cpu_us:8.0f} us  errors {part.errors}  others {part.others_cores:.1f} cores",
        file=sys.stderr,
        flush=True,
    )
