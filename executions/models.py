"""An execution: the record of one run, and the steps it took."""

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
        """Whether a run goes on, or how it ended."""

        RUNNING = "running"  # it waits for a model or a tool, or its process is gone
        SUCCEEDED = "succeeded"
        INCOMPLETE = "incomplete"  # it ended at a bound, before the model was done
        FAILED = "failed"

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
    # Why it ended; empty while it runs.
    stop_reason = models.CharField(
        max_length=50, blank=True, default="completed", db_default="completed"
    )
    error_code = models.CharField(max_length=50, blank=True)
    provider = models.CharField(max_length=50, default="mock", db_default="mock")
    # Null where it is not known.
    input_tokens = models.PositiveBigIntegerField(null=True, blank=True)
    output_tokens = models.PositiveBigIntegerField(null=True, blank=True)
    cost_usd = models.DecimalField(max_digits=20, decimal_places=9, null=True, blank=True)
    system_prompt = models.TextField(blank=True, default="", db_default="")
    latency_ms = models.PositiveIntegerField(help_text="Of the run, without the network.")
    request_id = models.CharField(max_length=128)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    # When a run that left the process must be over; null for one that never left it.
    finish_by = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ("-created_at", "-id")
        indexes = [
            models.Index(fields=("tenant", "-created_at", "-id"), name="execution_by_age"),
            # What the desk counts over all tenants, read from the index alone. An insert pays 3 us for
            # it; BRIN would be free, but reads prompts and responses to get at a status. Its condition
            # always holds, and has to be asked for: or PostgreSQL would take this index for a tenant's
            # newest as well, and read everybody's on the way.
            models.Index(
                fields=("created_at",),
                include=("tenant", "status", "error_code", "latency_ms"),
                condition=models.Q(latency_ms__gte=0),
                name="execution_by_time",
            ),
            models.Index(
                fields=("finish_by",),
                condition=models.Q(status="running"),
                name="execution_running",
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)


class Step(models.Model):
    """One call of a run that left the process, of the model or of a tool, written as it happened."""

    class Kind(models.TextChoices):
        """What was called."""

        MODEL = "model"
        TOOL = "tool"

    execution = models.ForeignKey(
        Execution, on_delete=models.CASCADE, related_name="steps", db_index=False
    )
    position = models.PositiveSmallIntegerField()
    kind = models.CharField(max_length=10, choices=Kind)
    name = models.TextField()
    input = models.TextField(blank=True)
    output = models.TextField(blank=True)
    input_tokens = models.PositiveBigIntegerField(null=True, blank=True)
    output_tokens = models.PositiveBigIntegerField(null=True, blank=True)
    latency_ms = models.PositiveIntegerField()
    error = models.CharField(max_length=100, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ("execution", "position")
        constraints = [
            models.UniqueConstraint(fields=("execution", "position"), name="step_position_unique")
        ]

    def __str__(self) -> str:
        return f"{self.execution_id} {self.position}"
