"""What the desk remembers of days that are over."""

from django.db import models


class CountedDay(models.Model):
    """A day (UTC) whose runs stand in `RunsOfDay`."""

    day = models.DateField(primary_key=True)

    def __str__(self) -> str:
        return str(self.day)


class RunsOfDay(models.Model):
    """How many runs of a tenant ended one way on one day.

    Counting a month's executions anew at every look at the dashboard costs 200 ms a million, and
    grows; days that are over do not change, so they are counted once.
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
