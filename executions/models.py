"""An execution: the record of one run."""

from django.db import models
from django.db.models.functions import Now

from map_project.api.ids import uuid7
from map_project.tenants.models import Tenant


class Execution(models.Model):
    """What an agent was asked and what it answered, as it was then.

    It records, it does not point: no foreign key constraint, so nothing that happens to the tenant
    or the agent later can rewrite or remove it, and an insert locks no other row.
    """

    class Status(models.TextChoices):
        """How a run ended."""

        SUCCEEDED = "succeeded"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey(
        Tenant, on_delete=models.PROTECT, db_constraint=False, db_index=False
    )
    agent_id = models.UUIDField()
    agent_name = models.CharField(max_length=100)
    prompt = models.TextField()
    model = models.CharField(max_length=100)
    response = models.TextField()
    status = models.CharField(max_length=20, choices=Status)
    error_code = models.CharField(max_length=50, blank=True)
    latency_ms = models.PositiveIntegerField(help_text="Of the run, without the network.")
    request_id = models.CharField(max_length=128)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ("-created_at", "-id")
        indexes = [
            models.Index(fields=("tenant", "-created_at", "-id"), name="execution_by_age"),
            # What the desk counts over all tenants, read from the index alone. An insert pays 3 us for
            # it; BRIN would be free, but reads prompts and responses to get at a status.
            models.Index(
                fields=("created_at",),
                include=("tenant", "status", "error_code", "latency_ms"),
                name="execution_by_time",
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)
