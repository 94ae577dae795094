"""Counts of past days, for the dashboard."""

from django.db import models


class CountedDay(models.Model):
    """A day (UTC) whose runs are counted in `RunsOfDay`."""

    day = models.DateField(primary_key=True)

    def __str__(self) -> str:
        return str(self.day)


class RunsOfDay(models.Model):
    """The number of a tenant's runs on one day with one status and error code.

    Counting a month of executions costs 200 ms per million, and past days do not change.
    """

    day = models.DateField()
    tenant_id = models.UUIDField()
    status = models.CharField(max_length=20)
    error_code = models.CharField(max_length=50, blank=True)
    runs = models.PositiveBigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=("day", "tenant_id", "status", "error_code"), name="runs_of_day_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.tenant_id} {self.status}: {self.runs}"
