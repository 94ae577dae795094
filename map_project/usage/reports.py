"""The usage of a tenant in a time range, in groups."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db.models import DateTimeField, F, Func, IntegerField, Max, Q, QuerySet, Sum, Value

from map_project.api.errors import BadRequest
from map_project.tenants.models import ApiKey
from map_project.usage.models import Usage
from map_project.usage.periods import Period

# What usage can be grouped by, and the column of each.
COLUMNS = {
    "day": "day_number",
    "model": "model",
    "agent": "agent_id",
    "key": "key_prefix",
    "status": "status",
}
# A response with all of them takes 50 ms of CPU.
MAX_GROUPS = 2_000


@dataclass(frozen=True, slots=True)
class Amounts:
    """What runs add up to. Failures are the runs with the status `failed`."""

    runs: int = 0
    failures: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    tool_calls: int = 0
    failed_tool_calls: int = 0

    @property
    def total_tokens(self) -> int:
        """Input and output tokens."""
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class UsedAgent:
    """An agent, with the last name that it had in the range. It may have been deleted."""

    id: uuid.UUID
    name: str


_Agents = dict[uuid.UUID | None, UsedAgent]


@dataclass(frozen=True, slots=True)
class UsedKey:
    """An API key. `id` and `name` are None if it does not exist; also `prefix` if it is not known."""

    id: uuid.UUID | None
    name: str | None
    prefix: str | None


@dataclass(frozen=True, slots=True)
class Group:
    """The usage of a day, a model, an agent, a key or a status, or of several of them together."""

    amounts: Amounts
    day: date | None = None
    model: str = ""
    agent: UsedAgent | None = None
    key: UsedKey | None = None
    status: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """The groups, in the order of what they are grouped by, and the sum of all of them."""

    period: Period
    group_by: Sequence[str]
    groups: Sequence[Group] = ()
    totals: Amounts = field(default_factory=Amounts)


_SUMS = {
    "runs_sum": Sum("runs"),
    "failures_sum": Sum("runs", filter=Q(status="failed"), default=0),
    "input_tokens_sum": Sum("input_tokens"),
    "output_tokens_sum": Sum("output_tokens"),
    "cost_usd_sum": Sum("cost_usd"),
    "tool_calls_sum": Sum("tool_calls"),
    "failed_tool_calls_sum": Sum("failed_tool_calls"),
}


def usage_of(tenant_id: uuid.UUID, period: Period, group_by: Sequence[str]) -> Report:
    """Return the usage of a tenant. Raises BadRequest if there are too many groups, or for their days."""
    usage = usage_in(tenant_id, period)
    days = period.days() if "day" in group_by else []
    sums = {**_SUMS, "last_hour": Max("hour")} if "agent" in group_by else _SUMS
    if days:
        usage = usage.annotate(day_number=number_of_day(days))
    # Without a column, `.values()` would return rows without a sum.
    columns = [COLUMNS[name] for name in group_by] or ["tenant_id"]
    rows = [*usage.values(*columns).annotate(**sums)[: MAX_GROUPS + 1]]
    if len(rows) > MAX_GROUPS:
        raise BadRequest(
            f"The usage has more than {MAX_GROUPS:,} groups. Choose a shorter range, or fewer values of "
            "group_by."
        )
    groups = groups_of(tenant_id, period, group_by, rows, days)
    return Report(period, group_by, groups if group_by else (), total(groups))


def read_group_by(text: str | None) -> list[str]:
    """Return the names in a text, which are separated by commas. Raises BadRequest."""
    names = [] if text is None else text.split(",")
    if any(name not in COLUMNS for name in names) or len({*names}) < len(names):
        raise BadRequest(
            f"group_by must be one of {', '.join(COLUMNS)}, or several of them, separated by commas."
        )
    return names


def usage_in(tenant_id: uuid.UUID, period: Period) -> QuerySet[Usage]:
    """Return the rows of a tenant in a time range."""
    rows = Usage.objects.filter(tenant_id=tenant_id)
    return rows.filter(hour__gte=period.begin, hour__lt=period.end).order_by()


def groups_of(
    tenant_id: uuid.UUID,
    period: Period,
    group_by: Sequence[str],
    rows: Sequence[dict[str, Any]],
    days: Sequence[tuple[date, datetime]] = (),
) -> list[Group]:
    """Return groups of rows with their columns and sums, sorted. They have a `last_hour` for agents."""
    agents: _Agents = {}
    if "agent" in group_by and rows:
        last_hours = ((row["agent_id"], row["last_hour"]) for row in rows)
        agents = _last_names(usage_in(tenant_id, period), last_hours)
    keys: dict[str | None, UsedKey] = {}
    if "key" in group_by:
        keys = _keys(tenant_id, (row["key_prefix"] for row in rows))
    groups = [
        Group(
            amounts=_amounts(row),
            day=days[row["day_number"] - 1][0] if days else None,
            model=row.get("model", ""),
            agent=agents.get(row.get("agent_id")),
            key=keys.get(row.get("key_prefix")),
            status=row.get("status", ""),
        )
        for row in rows
    ]
    return sorted(groups, key=lambda group: [_position(getattr(group, name)) for name in group_by])


def total(groups: Iterable[Group]) -> Amounts:
    """Return the sum of groups."""
    amounts = [group.amounts for group in groups]
    return Amounts(
        runs=sum(each.runs for each in amounts),
        failures=sum(each.failures for each in amounts),
        input_tokens=sum(each.input_tokens for each in amounts),
        output_tokens=sum(each.output_tokens for each in amounts),
        cost_usd=sum((each.cost_usd for each in amounts), Decimal()),
        tool_calls=sum(each.tool_calls for each in amounts),
        failed_tool_calls=sum(each.failed_tool_calls for each in amounts),
    )


def number_of_day(days: Sequence[tuple[date, datetime]]) -> Func:
    """Return the number of the day of an hour, from 1.

    Their beginnings are calculated here: PostgreSQL may have other data of time zones.
    """
    begins = Value([begin for _, begin in days], output_field=ArrayField(DateTimeField()))
    return Func(F("hour"), begins, function="WIDTH_BUCKET", output_field=IntegerField())


def _amounts(row: dict[str, Any]) -> Amounts:
    # PostgreSQL returns sums of big integers as numeric.
    counts = {name.removesuffix("_sum"): int(row[name]) for name in _SUMS if name != "cost_usd_sum"}
    return Amounts(cost_usd=row["cost_usd_sum"], **counts)


def _last_names(
    usage: QuerySet[Usage], last_hours: Iterable[tuple[uuid.UUID, datetime]]
) -> _Agents:
    """Return the agents of some usage by their IDs, given the last hour in which each has runs.

    Runs that are not in the totals yet are the latest of their hour: `id` is null.
    """
    hours: dict[uuid.UUID, datetime] = {}
    for agent_id, hour in last_hours:
        hours[agent_id] = max(hour, hours.get(agent_id, hour))
    latest = usage.filter(agent_id__in=[*hours], hour__in={*hours.values()})
    latest = latest.order_by("agent_id", "-hour", F("id").desc(nulls_first=True))
    names = latest.distinct("agent_id").values_list("agent_id", "agent_name")
    return {agent_id: UsedAgent(agent_id, name) for agent_id, name in names}


def _keys(tenant_id: uuid.UUID, prefixes: Iterable[str]) -> dict[str | None, UsedKey]:
    """Return the keys by their prefixes, also of keys that do not exist."""
    found: dict[str | None, UsedKey] = {
        prefix: UsedKey(None, None, prefix or None) for prefix in prefixes
    }
    keys = ApiKey.objects.filter(tenant_id=tenant_id, prefix__in=[*found])
    for pk, name, prefix in keys.order_by().values_list("id", "name", "prefix"):
        found[prefix] = UsedKey(pk, name, prefix)
    return found


def _position(value: Any) -> Any:
    match value:
        case UsedAgent():
            return value.name, value.id
        case UsedKey():
            return value.prefix or ""
    return value
