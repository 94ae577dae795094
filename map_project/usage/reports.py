"""The usage of a tenant in a time range, in groups."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db.models import DateTimeField, F, Func, IntegerField, Q, QuerySet, Sum, Value

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
MAX_GROUPS = 5_000


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
    usage = Usage.objects.filter(
        tenant_id=tenant_id, hour__gte=period.begin, hour__lt=period.end
    ).order_by()
    days = period.days() if "day" in group_by else []
    if days:
        usage = usage.annotate(day_number=_number_of(days))
    # Without a column, `.values()` would return rows without a sum.
    columns = [COLUMNS[name] for name in group_by] or ["tenant_id"]
    rows = [*usage.values(*columns).annotate(**_SUMS)[: MAX_GROUPS + 1]]
    if len(rows) > MAX_GROUPS:
        raise BadRequest(
            f"The usage has more than {MAX_GROUPS:,} groups. Choose a shorter range, or fewer values of "
            "group_by."
        )
    agents = _last_names(usage) if "agent" in group_by else {}
    keys = _keys(tenant_id, (row["key_prefix"] for row in rows)) if "key" in group_by else {}
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
    groups.sort(key=lambda group: [_position(getattr(group, name)) for name in group_by])
    return Report(period, group_by, groups if group_by else (), _total(groups))


def _number_of(days: Sequence[tuple[date, Any]]) -> Func:
    """Return the number of the day of an hour, from 1.

    Their beginnings are calculated here: PostgreSQL may have other data of time zones.
    """
    begins = Value([begin for _, begin in days], output_field=ArrayField(DateTimeField()))
    return Func(F("hour"), begins, function="WIDTH_BUCKET", output_field=IntegerField())


def _amounts(row: dict[str, Any]) -> Amounts:
    # PostgreSQL returns sums of big integers as numeric.
    counts = {name.removesuffix("_sum"): int(row[name]) for name in _SUMS if name != "cost_usd_sum"}
    return Amounts(cost_usd=row["cost_usd_sum"], **counts)


def _total(groups: Sequence[Group]) -> Amounts:
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


def _last_names(usage: QuerySet[Usage]) -> dict[uuid.UUID, UsedAgent]:
    """Return the agents by their IDs. Runs that are not in the totals yet are later ones: `id` is null."""
    latest = usage.order_by("agent_id", "-hour", F("id").desc(nulls_first=True))
    names = latest.distinct("agent_id").values_list("agent_id", "agent_name")
    return {agent_id: UsedAgent(agent_id, name) for agent_id, name in names}


def _keys(tenant_id: uuid.UUID, prefixes: Iterable[str]) -> dict[str, UsedKey]:
    """Return the keys by their prefixes, also of keys that do not exist."""
    found = {prefix: UsedKey(None, None, prefix or None) for prefix in prefixes}
    keys = ApiKey.objects.filter(tenant_id=tenant_id, prefix__in=found)
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
