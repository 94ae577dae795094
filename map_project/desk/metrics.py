"""The dashboard's numbers, each from an index (`execution_by_time`) or from the days counted before.

Statuses and error codes are what the rows say; no list of them is kept here. PostgreSQL binds the
parameters itself, so a grouping names its columns by their place.
"""

import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property

from map_project.desk.days import count_days, over_until
from map_project.postgresql.compiled import dictionaries

ORIGIN = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Range:
    """A stretch of time up to now, drawn in `buckets` of `width` each."""

    name: str
    label: str
    width: timedelta
    buckets: int

    def begin(self, now: datetime) -> datetime:
        """The begin of the first bucket; the last one holds `now`."""
        last = now - (now - ORIGIN) % self.width
        return last - self.width * (self.buckets - 1)

    def times(self, now: datetime) -> list[datetime]:
        """Where each bucket begins."""
        return [self.begin(now) + self.width * n for n in range(self.buckets)]


RANGES = {
    item.name: item
    for item in (
        Range("1h", "1 hour", timedelta(minutes=1), 60),
        Range("24h", "24 hours", timedelta(minutes=30), 48),
        Range("7d", "7 days", timedelta(hours=6), 28),
        Range("30d", "30 days", timedelta(days=1), 30),
    )
}
DAY = RANGES["24h"]


@dataclass
class Counts:
    """Runs, counted in every way that the dashboard shows."""

    by_bucket: dict[tuple[datetime, str], int] = field(default_factory=dict)
    by_tenant: dict[uuid.UUID, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    by_code: dict[tuple[str, str], int] = field(default_factory=dict)
    # False while days of the range are still to be counted.
    complete: bool = True

    @cached_property
    def by_status(self) -> dict[str, int]:
        """Runs by status, the most frequent first."""
        sums: dict[str, int] = defaultdict(int)
        for (_, status), runs in self.by_bucket.items():
            sums[status] += runs
        return dict(sorted(sums.items(), key=lambda item: -item[1]))

    @property
    def total(self) -> int:
        """All runs."""
        return sum(self.by_status.values())

    def busiest(self, number: int) -> list[tuple[uuid.UUID, dict[str, int]]]:
        """The tenants with most runs, and their runs by status."""
        ordered = sorted(self.by_tenant.items(), key=lambda item: -sum(item[1].values()))
        return ordered[:number]

    def failures(self) -> list[tuple[str, int]]:
        """Error codes (or the status, where there is none) of runs that have one, and how many."""
        sums: dict[str, int] = defaultdict(int)
        for (status, code), runs in self.by_code.items():
            if code or status not in {"succeeded", "running"}:
                sums[code or status] += runs
        return sorted(sums.items(), key=lambda item: -item[1])


_LIVE = """
SELECT date_bin(%s, created_at, %s) AS bucket, tenant_id, status, error_code, count(*) AS runs
FROM executions_execution WHERE latency_ms >= 0 AND created_at >= %s {only} GROUP BY 1, 2, 3, 4
"""
_DAYS = """
SELECT day::timestamp AT TIME ZONE 'UTC' AS bucket, tenant_id, status, error_code, runs
FROM desk_runsofday WHERE day >= %s AND day < %s UNION ALL
"""
_COUNTS = """
WITH counted AS MATERIALIZED ({counted})
SELECT bucket, tenant_id, status, error_code, sum(runs)::bigint AS runs, grouping(bucket, tenant_id) AS kind
FROM counted GROUP BY GROUPING SETS ((bucket, status), (tenant_id, status), (status, error_code))
"""
_BY_BUCKET, _BY_TENANT = 0b01, 0b10


def counts(wanted: Range, now: datetime, *, tenant_id: uuid.UUID | None = None) -> Counts:
    """Runs in the range, of all tenants or of one. One statement, and where days are drawn, one more
    for each that is over and was not counted before.
    """
    begin, until = wanted.begin(now), over_until(now)
    if wanted.width < timedelta(days=1) or tenant_id:
        return _counts(*_live(wanted, begin, tenant_id))
    complete = count_days(begin.date(), until)
    live, values = _live(wanted, datetime(until.year, until.month, until.day, tzinfo=UTC), None)
    found = _counts(_DAYS + live, [begin.date(), until, *values])
    found.complete = complete
    return found


def _live(wanted: Range, since: datetime, tenant_id: uuid.UUID | None) -> tuple[str, list[object]]:
    only = "AND tenant_id = %s" if tenant_id else ""
    return _LIVE.format(only=only), [
        wanted.width,
        ORIGIN,
        since,
        *([tenant_id] if tenant_id else []),
    ]


def _counts(counted: str, values: Sequence[object]) -> Counts:
    found = Counts()
    for row in dictionaries(_COUNTS.format(counted=counted), values):
        if row["kind"] == _BY_BUCKET:
            found.by_bucket[row["bucket"], row["status"]] = row["runs"]
        elif row["kind"] == _BY_TENANT:
            found.by_tenant[row["tenant_id"]][row["status"]] = row["runs"]
        else:
            found.by_code[row["status"], row["error_code"]] = row["runs"]
    return found


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds within which half, and 95 of 100, of the runs were over; None without runs."""

    p50: float | None
    p95: float | None


_LATENCIES = """
SELECT
    percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY latency_ms)
        FILTER (WHERE latency_ms >= 0 AND created_at >= %s) AS hour,
    percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY latency_ms) AS day
FROM executions_execution WHERE latency_ms >= 0 AND created_at >= %s AND status <> 'running' {only}
"""
_LATENCY_SERIES = """
SELECT
    date_bin(%s, created_at, %s) AS bucket,
    percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY latency_ms) AS found
FROM executions_execution WHERE latency_ms >= 0 AND created_at >= %s AND status <> 'running' GROUP BY 1
"""


def latencies(now: datetime, *, tenant_id: uuid.UUID | None = None) -> tuple[Latency, Latency]:
    """Of the last hour, and of the last 24."""
    only = "AND tenant_id = %s" if tenant_id else ""
    values = [
        now - timedelta(hours=1),
        now - timedelta(hours=24),
        *([tenant_id] if tenant_id else []),
    ]
    (row,) = dictionaries(_LATENCIES.format(only=only), values)
    return _latency(row["hour"]), _latency(row["day"])


def latency_series(wanted: Range, now: datetime) -> Mapping[datetime, Latency]:
    """By bucket, those without runs left out."""
    rows = dictionaries(_LATENCY_SERIES, [wanted.width, ORIGIN, wanted.begin(now)])
    return {row["bucket"]: _latency(row["found"]) for row in rows}


def _latency(found: Sequence[float] | None) -> Latency:
    return Latency(*found) if found else Latency(None, None)


_LATELY = """
SELECT tenant_id, count(*) AS runs FROM executions_execution
WHERE latency_ms >= 0 AND created_at >= %s GROUP BY tenant_id ORDER BY runs DESC LIMIT %s
"""


def busy_since(since: datetime, number: int) -> list[uuid.UUID]:
    """The tenants with most runs since then."""
    return [row["tenant_id"] for row in dictionaries(_LATELY, [since, number])]


_BY_TENANT_SINCE = """
SELECT tenant_id, count(*) AS runs FROM executions_execution
WHERE latency_ms >= 0 AND created_at >= %s AND tenant_id = ANY (%s) GROUP BY tenant_id
"""


def runs_since(since: datetime, tenant_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, int]:
    """How many runs each of these tenants made since then."""
    rows = dictionaries(_BY_TENANT_SINCE, [since, list(tenant_ids)])
    return {row["tenant_id"]: row["runs"] for row in rows}
