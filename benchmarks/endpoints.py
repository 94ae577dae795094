"""The measured endpoints, the validation of their responses, and their bars."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.errors import BenchError
from benchmarks.load import Load, wrk

RUN_KEY, WRITE_KEY = "tenant-11-key", "tenant-10-key"
HISTORY_KEYS = tuple(f"tenant-{number}-key" for number in range(1, 11))
_AGENT = "/api/v1/agents/20000000-0000-4000-8000-000000000001"
_PROMPT = "Please summarise the quarterly report and list the most important points."


@dataclass(frozen=True)
class Bar:
    """A bound on a ratio of medians, platform divided by peer."""

    figure: str  # of `compare.Slice`
    at_least: float | None = None
    at_most: float | None = None

    def holds(self, ratio: float) -> bool:
        """Return whether the ratio is within the bound."""
        if self.at_least is not None:
            return ratio >= self.at_least
        return self.at_most is not None and ratio <= self.at_most

    def __str__(self) -> str:
        name = {"requests_per_second": "requests/s", "p95_ms": "p95", "cpu_us": "CPU"}[self.figure]
        return (
            f"{name} {f'≥ {self.at_least}' if self.at_least is not None else f'≤ {self.at_most}'}"
        )


# With this many connections the bar is the latency, not the rate.
MANY_CONNECTIONS = 100
_LATENCY_BARS = (Bar("p95_ms", at_most=1.0),)


@dataclass(frozen=True)
class Endpoint:
    """A request, the same for both sides. The keys are used in turn."""

    name: str
    path: str
    keys: tuple[str, ...]
    bars: tuple[Bar, ...]
    is_valid: Callable[[dict[str, Any]], bool]
    body: str = ""
    status: int = 200

    def bars_at(self, connections: int) -> tuple[Bar, ...]:
        """Return the bars at this number of connections."""
        return _LATENCY_BARS if connections >= MANY_CONNECTIONS else self.bars

    @property
    def method(self) -> str:
        """POST if there is a body, else GET."""
        return "POST" if self.body else "GET"

    def load(self, base_url: str, *, connections: int, seconds: float) -> Load:
        """Load one side. Raises BenchError."""
        arguments = (self.method, ",".join(self.keys), self.body)
        return wrk(
            base_url + self.path,
            connections=connections,
            seconds=seconds,
            script="requests.lua",
            arguments=arguments,
        )

    def check(self, base_url: str) -> None:
        """Send one request per key. Raises BenchError if the status or the content is wrong."""
        for key in self.keys:
            request = urllib.request.Request(
                base_url + self.path,
                method=self.method,
                data=self.body.encode() or None,
                headers={"X-API-KEY": key, "Content-Type": "application/json"},
            )
            try:
                with urllib.request.urlopen(request, timeout=30) as response:
                    status, content = response.status, response.read()
            except urllib.error.HTTPError as error:
                status, content = error.code, error.read()
            if status != self.status or not self.is_valid(json.loads(content)):
                raise BenchError(
                    f"{base_url + self.path} returned {status} {content[:300]!r} for {key} "
                    "(the servers' logs are in .map/bench)."
                )


def _page(items: int, total: int) -> Callable[[dict[str, Any]], bool]:
    return lambda response: len(response["items"]) == items and response["total"] == total


def _rate_at_least(ratio: float) -> Bar:
    return Bar("requests_per_second", at_least=ratio)


ENDPOINTS = (
    Endpoint(
        name="run",
        path=f"{_AGENT}/run",
        keys=(RUN_KEY,),
        body=json.dumps({"prompt": _PROMPT, "model": "gpt-4o"}),
        bars=(_rate_at_least(2), Bar("cpu_us", at_most=0.5)),
        is_valid=lambda response: (
            response["prompt"] == _PROMPT and "agent-1" in response["response"]
        ),
    ),
    Endpoint(
        name="get-agent",
        path=_AGENT,
        keys=(RUN_KEY,),
        bars=(_rate_at_least(0.9),),
        is_valid=lambda response: len(response["tools"]) == 5,
    ),
    Endpoint(
        name="list-tools",
        path="/api/v1/tools?limit=20",
        keys=(RUN_KEY,),
        bars=(_rate_at_least(0.9),),
        is_valid=_page(20, 20),
    ),
    Endpoint(
        name="create-tool",
        path="/api/v1/tools",
        keys=(WRITE_KEY,),
        body='{"name":"{n}","description":"A tool that does something"}',
        bars=(_rate_at_least(0.9),),
        status=201,
        is_valid=lambda response: response["description"] == "A tool that does something",
    ),
    Endpoint(
        name="history-first",
        path="/api/v1/history?limit=20",
        keys=HISTORY_KEYS,
        bars=(_rate_at_least(4),),
        is_valid=_page(20, 100_000),
    ),
    Endpoint(
        name="history-deep",
        path="/api/v1/history?limit=20&offset=90000",
        keys=HISTORY_KEYS,
        bars=(_rate_at_least(5),),
        is_valid=_page(20, 100_000),
    ),
)
