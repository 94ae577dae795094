"""The metrics. Their values come from PostgreSQL and Redis, so that every process returns the same ones."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from django.utils import timezone
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from executions.events.open_streams import open_streams
from executions.jobs.queue_state import queue_state
from map_project import VERSION
from map_project.usage import counters
from map_project.usage.models import Counter
from ratelimit.limiter import LimiterUnavailable

Samples = Mapping[str, float]

# Name, labels, counter, and documentation.
_COUNTERS: Iterable[tuple[str, tuple[str, ...], str]] = (
    (counters.EXECUTIONS, ("status", "provider"), "Runs that have ended."),
    (counters.TOKENS, ("direction", "model"), "Tokens of ended runs: input or output."),
    (counters.COST_USD, (), "Cost of ended runs in US dollars."),
    (counters.TOOL_CALLS, ("outcome",), "Tool calls of ended runs: succeeded or failed."),
    (counters.LEASES_EXPIRED, (), "Running executions whose process was lost."),
    (counters.WEBHOOK_DELIVERIES, ("outcome",), "Webhook deliveries: succeeded or failed."),
    (counters.RATELIMIT_DENIED, ("reason",), "Calls that a limit refused: quota or slots."),
)


class PlatformCollector(Collector):
    """All metrics of the platform."""

    def collect(self) -> Iterator[Metric]:
        """Read the values. Raises DatabaseError. Without Redis, `map_streams_open` is absent."""
        yield InfoMetricFamily("map_build", "The release.", {"version": VERSION})
        stored = _stored_counters()
        for name, labels, documentation in _COUNTERS:
            yield _counter(name, labels, documentation, stored[name])
        yield _durations(stored)
        yield from _queue()
        yield from _streams()


def _stored_counters() -> Mapping[str, Mapping[str, float]]:
    """Return the values of all counters by name, and by their labels as JSON."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for name, labels, value in Counter.objects.values_list("name", "labels", "value"):
        found[name][json.dumps(labels)] = float(value)
    return found


def _counter(name: str, labels: tuple[str, ...], documentation: str, values: Samples) -> Metric:
    metric = CounterMetricFamily(f"map_{name}", documentation, labels=labels)
    for text, value in values.items():
        found = json.loads(text)
        metric.add_metric([found[label] for label in labels], value)
    if not labels and not values:
        metric.add_metric([], 0)
    return metric


def _durations(stored: Mapping[str, Samples]) -> Metric:
    name, documentation = "map_execution_duration_seconds", "Durations of ended runs."
    metric = HistogramMetricFamily(name, documentation, labels=["provider"])
    runs: dict[str, dict[int, float]] = defaultdict(dict)
    for text, value in stored[counters.DURATIONS].items():
        labels = json.loads(text)
        runs[labels["provider"]][int(labels["bucket"])] = value
    sums = {
        json.loads(text)["provider"]: value / 1000
        for text, value in stored[counters.DURATION_MS].items()
    }
    for provider, by_bucket in runs.items():
        metric.add_metric([provider], _buckets(by_bucket), sums[provider])
    return metric


def _buckets(runs: Mapping[int, float]) -> list[tuple[str, float]]:
    """Return the bounds of the buckets, and the runs up to each."""
    bounds = [*map(str, map(float, counters.DURATION_BOUNDS_SECONDS)), "+Inf"]
    return [
        (bound, sum(runs.get(bucket, 0) for bucket in range(number + 1)))
        for number, bound in enumerate(bounds)
    ]


def _queue() -> Iterator[Metric]:
    state = queue_state(timezone.now())
    age_seconds = state.oldest_age.total_seconds() if state.oldest_age else 0
    for name, documentation, value in (
        ("depth", "Runs that wait for a worker.", state.queued),
        ("oldest_age_seconds", "Age of the oldest run that waits; 0 without one.", age_seconds),
        ("running", "Background runs in progress.", state.running),
        ("workers", "Workers with a recent heartbeat.", state.workers),
    ):
        yield GaugeMetricFamily(f"map_queue_{name}", documentation, value)


def _streams() -> Iterator[Metric]:
    try:
        count = open_streams()
    except LimiterUnavailable:
        return
    yield GaugeMetricFamily("map_streams_open", "Open streams of events.", count)
