"""Executions, each the record of one run, and their steps."""

from django.db import models
from django.db.models.functions import Now

from executions.stop_reasons import StopReason
from map_project.api.ids import uuid7
from map_project.tenants.models import Tenant


class Execution(models.Model):
    """One run of an agent, as it was at the time.

    There are no foreign key constraints: later changes to the tenant or the agent cannot change or delete
    an execution, and an insert locks no other row.
    """

    class Status(models.TextChoices):
        """The status of a run."""

        RUNNING = "running"  # it waits for a model or a tool, or its process has ended
        SUCCEEDED = "succeeded"
        INCOMPLETE = "incomplete"  # a limit ended it before the model was done
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
    # Why the run ended; empty while it is running.
    stop_reason = models.CharField(
        max_length=50, blank=True, default=StopReason.COMPLETED, db_default="completed"
    )
    error_code = models.CharField(max_length=50, blank=True)
    # Why the model provider failed: a code of docs/troubleshoot.md, the identifiers in its response, and
    # its message without secrets, which only operators see.
    error_reason = models.CharField(max_length=50, blank=True, default="", db_default="")
    provider_error = models.JSONField(null=True, blank=True)
    provider_message = models.TextField(blank=True, default="", db_default="")
    provider = models.CharField(max_length=50, default="mock", db_default="mock")
    # Null if unknown.
    input_tokens = models.PositiveBigIntegerField(null=True, blank=True)
    output_tokens = models.PositiveBigIntegerField(null=True, blank=True)
    cost_usd = models.DecimalField(max_digits=20, decimal_places=9, null=True, blank=True)
    system_prompt = models.TextField(blank=True, default="", db_default="")
    latency_ms = models.PositiveIntegerField(help_text="Of the run, without the network.")
    request_id = models.CharField(max_length=128)
    # Of the API key that started the run; empty for runs of earlier releases.
    key_prefix = models.CharField(max_length=12, blank=True, default="", db_default="")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    # The time limit of a run with remote calls; null for a run without them.
    finish_by = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ("-created_at", "-id")
        indexes = [
            models.Index(fields=("tenant", "-created_at", "-id"), name="execution_by_age"),
            # For the counts of the dashboard over all tenants, which read this index alone. It adds 3 us to
            # an insert. A BRIN index would be cheaper, but reads prompts and responses to find a status.
            # The condition is always true, and only queries that repeat it use the index. Without it,
            # PostgreSQL would use this index for the newest rows of one tenant, and read those of others.
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
            # For the search of the admin. Not a hash index: with a client that uses one request ID for all of
            # its runs, inserts would become slower and slower.
            models.Index(fields=("request_id",), name="execution_by_request"),
        ]

    def __str__(self) -> str:
        return str(self.id)


class Step(models.Model):
    """One call of the model or of a tool in a run, stored as it happens."""

    class Kind(models.TextChoices):
        """What the step calls."""

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
    # Of a model step: the calls that the model requested, as `id`, `name` and `arguments`.
    tool_calls = models.JSONField(default=list, db_default=[], blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ("execution", "position")
        constraints = [
            models.UniqueConstraint(fields=("execution", "position"), name="step_position_unique")
        ]

    def __str__(self) -> str:
        return f"{self.execution_id} {self.position}"
