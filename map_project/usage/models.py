"""Totals that only grow, and the rows that have not been added to them yet.

A trigger on executions inserts one `EndedRun` in the transaction that ends an execution, so that no code that
ends one, also of an earlier release, can miss it. `map_project.usage.folding` moves these rows into
`HourlyUsage` and `Counter`. A row is deleted in the statement that adds it, so each run is counted exactly
once, in whatever order transactions commit, and `Usage`, which reads both tables in one snapshot, is exact at
any time.

The totals do not refer to executions, and stay when these are deleted.
"""

from django.db import models
from django.db.models.functions import Now

from map_project.tenants.models import Tenant


class UsageColumns(models.Model):
    """Columns of one or several ended runs. Unknown tokens and costs count as 0.

    Tool calls are those that were made: not those that a person declined, that came too late, or that named
    no tool of the agent. `failed_tool_calls` are part of them.
    """

    tenant = models.ForeignKey(
        Tenant, on_delete=models.PROTECT, db_constraint=False, db_index=False, related_name="+"
    )
    # The beginning, in UTC, of the hour in which the run ended.
    hour = models.DateTimeField()
    model = models.CharField(max_length=100)
    provider = models.CharField(max_length=50)
    agent_id = models.UUIDField()
    agent_name = models.CharField(max_length=100)
    key_prefix = models.CharField(max_length=12, blank=True)
    status = models.CharField(max_length=20)
    input_tokens = models.BigIntegerField()
    output_tokens = models.BigIntegerField()
    cost_usd = models.DecimalField(max_digits=30, decimal_places=9)
    tool_calls = models.BigIntegerField()
    failed_tool_calls = models.BigIntegerField()
    latency_ms = models.BigIntegerField()

    class Meta:
        abstract = True


class EndedRun(UsageColumns):
    """An execution that has ended and is not in the totals yet."""

    execution_id = models.UUIDField(primary_key=True)

    class Meta:
        indexes = [
            # For budgets. Runs of models without prices are not in it.
            models.Index(
                fields=("tenant",),
                condition=models.Q(cost_usd__gt=0),
                name="ended_run_with_cost",
            )
        ]

    def __str__(self) -> str:
        return str(self.execution_id)


class HourlyUsage(UsageColumns):
    """The sums of the runs that ended in one hour, and agree in the columns of the constraint.

    `agent_name` is one of the names that the agent had in this hour.
    """

    runs = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=(
                    "tenant",
                    "hour",
                    "model",
                    "provider",
                    "agent_id",
                    "key_prefix",
                    "status",
                ),
                name="hourly_usage_once",
            )
        ]

    def __str__(self) -> str:
        return f"{self.hour} {self.tenant_id} {self.model} {self.status}: {self.runs}"


class DailyCost(models.Model):
    """The cost of the runs of a tenant in `HourlyUsage` that ended on one day, in UTC.

    A trigger on `HourlyUsage` keeps it. Budgets read it: a tenant may have 100,000 rows of `HourlyUsage` in a
    month.
    """

    tenant = models.ForeignKey(
        Tenant, on_delete=models.PROTECT, db_constraint=False, db_index=False, related_name="+"
    )
    day = models.DateField()
    cost_usd = models.DecimalField(max_digits=30, decimal_places=9)

    class Meta:
        constraints = [models.UniqueConstraint(fields=("tenant", "day"), name="daily_cost_once")]

    def __str__(self) -> str:
        return f"{self.day} {self.tenant_id}: {self.cost_usd}"


class BudgetWarning(models.Model):
    """The tenant was warned that it had spent most of a budget in the period that began on a day."""

    tenant = models.ForeignKey(
        Tenant, on_delete=models.PROTECT, db_constraint=False, db_index=False, related_name="+"
    )
    period = models.CharField(max_length=10)
    starts_on = models.DateField()
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=("tenant", "period", "starts_on"), name="budget_warning_once"
            )
        ]
        indexes = [models.Index(fields=("starts_on",), name="budget_warning_by_start")]

    def __str__(self) -> str:
        return f"{self.starts_on} {self.tenant_id} {self.period}"


class Usage(UsageColumns):
    """A view: the rows of `HourlyUsage`, and those of `EndedRun` with `runs` = 1.

    Filter by `tenant` and `hour`, and aggregate. `id` is null for rows of `EndedRun`.
    """

    id = models.BigIntegerField(primary_key=True)
    runs = models.BigIntegerField()

    class Meta:
        managed = False
        db_table = "usage_current"

    def __str__(self) -> str:
        return f"{self.hour} {self.tenant_id} {self.model} {self.status}: {self.runs}"


class Counter(models.Model):
    """The value of a counter of the whole platform since its installation."""

    name = models.CharField(max_length=50)
    labels = models.JSONField()
    value = models.DecimalField(max_digits=30, decimal_places=9)

    class Meta:
        constraints = [models.UniqueConstraint(fields=("name", "labels"), name="counter_once")]

    def __str__(self) -> str:
        return f"{self.name} {self.labels}: {self.value}"


class Increment(models.Model):
    """An amount that is not in its counter yet."""

    name = models.CharField(max_length=50)
    labels = models.JSONField()
    amount = models.DecimalField(max_digits=30, decimal_places=9)

    def __str__(self) -> str:
        return f"{self.name} {self.labels}: {self.amount}"
