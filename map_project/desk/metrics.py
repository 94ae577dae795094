"""The dashboard's numbers, from the index `execution_by_time` and the counts of past days.

Statuses and error codes come from the rows; there is no list of them here. Parameters are bound by the
server, so GROUP BY refers to columns by position. The condition `latency_ms >= 0` always holds; it
selects the partial index.
"""

import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property

from map_project.desk.days import count_days, first_open_day
from map_project.postgresql.queries import fetch_rows

ORIGIN = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Range:
    """A time range up to now, divided into `buckets` of `width` each."""

    name: str
    label: str
    width: timedelta
    buckets: int

    def begin(self, now: datetime) -> datetime:
        """The start of the first bucket. The last bucket contains `now`."""
        last = now - (now - ORIGIN) % self.width
        return last - self.width * (self.buckets - 1)

    def times(self, now: datetime) -> list[datetime]:
        """The start of each bucket."""
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
    """The number of runs by time, tenant, status and error code."""

    by_bucket: dict[tuple[datetime, str], int] = field(default_factory=dict)
    by_tenant: dict[uuid.UUID, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    by_code: dict[tuple[str, str], int] = field(default_factory=dict)
    # False if some past days are not counted yet.
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
        """The number of runs."""
        return sum(self.by_status.values())

    def busiest(self, number: int) -> list[tuple[uuid.UUID, dict[str, int]]]:
        """The tenants with the most runs, and their runs by status."""
        ordered = sorted(self.by_tenant.items(), key=lambda item: -sum(item[1].values()))
        return ordered[:number]

    def failures(self) -> list[tuple[str, int]]:
        """Error codes (or the status, if a run has none), the most frequent first."""
        sums: dict[str, int] = defaultdict(int)
        for (status, code), runs in self.by_code.items():
            if code or status not in {"succeeded", "running"}:
                sums[code or status] += runs
        return sorted(sums.items(), key=lambda item: -item[1])


_LIVE = """
SELECT date_bin(%s, created_at, %s) AS bucket, tenant_id, status, error_code, count(*) AS runs
FROM executions_execution WHERE latency_ms >= 0 AND created_at >= %s {tenant} GROUP BY 1, 2, 3, 4
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


def counts(selected: Range, now: datetime, *, tenant_id: uuid.UUID | None = None) -> Counts:
    """The runs in the range, of all tenants or of one.

    Ranges in whole days read past days from `RunsOfDay`, and count those that are missing first.
    """
    begin = selected.begin(now)
    if selected.width < timedelta(days=1) or tenant_id:
        return _counts(*_live(selected, begin, tenant_id))
    open_day = first_open_day(now)
    complete = count_days(begin.date(), open_day)
    live_since = datetime(open_day.year, open_day.month, open_day.day, tzinfo=UTC)
    live, parameters = _live(selected, live_since, None)
    result = _counts(_DAYS + live, [begin.date(), open_day, *parameters])
    result.complete = complete
    return result


def _live(
    selected: Range, since: datetime, tenant_id: uuid.UUID | None
) -> tuple[str, list[object]]:
    """SQL and parameters of a query that counts the executions themselves."""
    parameters = [selected.width, ORIGIN, since]
    if tenant_id is None:
        return _LIVE.format(tenant=""), parameters
    return _LIVE.format(tenant="AND tenant_id = %s"), [*parameters, tenant_id]


def _counts(counted: str, parameters: Sequence[object]) -> Counts:
    result = Counts()
    for row in fetch_rows(_COUNTS.format(counted=counted), parameters):
        if row["kind"] == _BY_BUCKET:
            result.by_bucket[row["bucket"], row["status"]] = row["runs"]
        elif row["kind"] == _BY_TENANT:
            result.by_tenant[row["tenant_id"]][row["status"]] = row["runs"]
        else:
            result.by_code[row["status"], row["error_code"]] = row["runs"]
    return result


@dataclass(frozen=True, slots=True)
class Latency:
    """Median and 95th percentile in milliseconds; None without runs."""

    p50: float | None
    p95: float | None


_LATENCIES = """
SELECT
    percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY latency_ms)
        FILTER (WHERE latency_ms >= 0 AND created_at >= %s) AS hour,
    percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY latency_ms) AS day
FROM executions_execution WHERE latency_ms >= 0 AND created_at >= %s AND status <> 'running' {tenant}
"""
_LATENCY_SERIES = """
SELECT
    date_bin(%s, created_at, %s) AS bucket,
    percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY latency_ms) AS percentiles
FROM executions_execution WHERE latency_ms >= 0 AND created_at >= %s AND status <> 'running' GROUP BY 1
"""


def latencies(now: datetime, *, tenant_id: uuid.UUID | None = None) -> tuple[Latency, Latency]:
    """The latency of the last hour, and of the last 24 hours."""
    parameters: list[object] = [now - timedelta(hours=1), now - timedelta(hours=24)]
    tenant = ""
    if tenant_id:
        tenant = "AND tenant_id = %s"
        parameters.append(tenant_id)
    (row,) = fetch_rows(_LATENCIES.format(tenant=tenant), parameters)
    return _latency(row["hour"]), _latency(row["day"])


def latency_series(selected: Range, now: datetime) -> Mapping[datetime, Latency]:
    """The latency by bucket, without the buckets that have no runs."""
    rows = fetch_rows(_LATENCY_SERIES, [selected.width, ORIGIN, selected.begin(now)])
    return {row["bucket"]: _latency(row["percentiles"]) for row in rows}


def _latency(percentiles: Sequence[float] | None) -> Latency:
    return Latency(*percentiles) if percentiles else Latency(None, None)


_BUSY_SINCE = """
SELECT tenant_id, count(*) AS runs FROM executions_execution
WHERE latency_ms >= 0 AND created_at >= %s GROUP BY tenant_id ORDER BY runs DESC LIMIT %s
"""


def busy_since(since: datetime, number: int) -> list[uuid.UUID]:
    """The tenants with the most runs since then."""
    return [row["tenant_id"] for row in fetch_rows(_BUSY_SINCE, [since, number])]


_RUNS_SINCE = """
SELECT tenant_id, count(*) AS runs FROM executions_execution
WHERE latency_ms >= 0 AND created_at >= %s AND tenant_id = ANY (%s) GROUP BY tenant_id
"""


def runs_since(since: datetime, tenant_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, int]:
    """The number of runs of each of these tenants since then."""
    rows = fetch_rows(_RUNS_SINCE, [since, list(tenant_ids)])
    return {row["tenant_id"]: row["runs"] for row in rows}
