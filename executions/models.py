"""Executions, each the record of one run, and their steps."""

from django.db import models
from django.db.models.functions import Now

from executions.approvals.models import Approval
from executions.history.models import SearchBlock
from executions.output import response_errors
from executions.stop_reasons import StopReason
from map_project.api.ids import uuid7
from map_project.tenants.models import Tenant
from tools.models import OrderedJSONField

__all__ = ["Approval", "Conversation", "EventBatch", "Execution", "SearchBlock", "Step"]


class Execution(models.Model):
    """One run of an agent, as it was at the time.

    There are no foreign key constraints: later changes to the tenant or the agent cannot change or delete
    an execution, and an insert locks no other row.
    """

    class Status(models.TextChoices):
        """The status of a run."""

        QUEUED = "queued"  # a worker will run it
        RUNNING = "running"  # a process runs it and holds its lease
        REQUIRES_ACTION = "requires_action"  # it waits for approvals; no process runs it
        SUCCEEDED = "succeeded"
        INCOMPLETE = "incomplete"  # a limit ended it before the model was done
        FAILED = "failed"
        CANCELLED = "cancelled"

    # A process runs it or will run it.
    ACTIVE = (Status.QUEUED, Status.RUNNING)
    UNFINISHED = (*ACTIVE, Status.REQUIRES_ACTION)

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
    # Also of a run in progress, if its tenant has a budget.
    cost_usd = models.DecimalField(max_digits=20, decimal_places=9, null=True, blank=True)
    # While it is running: the most that its present model call costs (`executions.budgets`).
    reserved_usd = models.DecimalField(max_digits=20, decimal_places=9, null=True, blank=True)
    system_prompt = models.TextField(blank=True, default="", db_default="")
    latency_ms = models.PositiveIntegerField(
        help_text="Duration of the run in milliseconds, excluding the network time between the "
        "client and the server."
    )
    request_id = models.CharField(max_length=128)
    # Of the API key that started the run; empty for runs of earlier releases.
    key_prefix = models.CharField(max_length=12, blank=True, default="", db_default="")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    started_at = models.DateTimeField(null=True, blank=True, editable=False)
    finished_at = models.DateTimeField(null=True, blank=True, editable=False)
    # How long it has waited for approvals, which its latency does not include.
    waited_ms = models.BigIntegerField(default=0, db_default=0)
    # The time limit of a run with remote calls; null for a run without them.
    finish_by = models.DateTimeField(null=True, blank=True, editable=False)
    # Whether a worker runs it. Otherwise the request that started it does, until it waits for approvals.
    background = models.BooleanField(default=False, db_default=False)
    # How many times a process has started the run. Only the process that holds the lease of the last attempt
    # writes to the execution (`executions.jobs.leases`).
    # A plain integer: a CHECK constraint would read the whole table in the migration.
    attempt = models.SmallIntegerField(default=1, db_default=1)
    lease_owner = models.CharField(max_length=100, blank=True, default="", db_default="")
    lease_expires_at = models.DateTimeField(null=True, blank=True, editable=False)
    # Whether a queued run has no job, because its tenant has no free slot (`max_concurrent_runs`), or because
    # other runs have reserved the rest of the budget.
    awaits_slot = models.BooleanField(default=False, db_default=False)
    # Of the client: its own data, and the header `Idempotency-Key`.
    metadata = models.JSONField(null=True, blank=True)
    idempotency_key = models.CharField(max_length=255, blank=True, default="", db_default="")
    # The execution whose messages, and those before it, precede the prompt. Of a run in a conversation: the
    # latest one before.
    previous_execution_id = models.UUIDField(null=True, blank=True)
    conversation_id = models.UUIDField(null=True, blank=True)
    # The exchanges before the prompt: of the executions before it and of its client. The oldest of them,
    # `dropped_exchanges`, were left out, because the context was too long (`executions.context`).
    earlier_exchanges = models.IntegerField(default=0, db_default=0)
    dropped_exchanges = models.IntegerField(default=0, db_default=0)
    # What the request sets for this run alone (`executions.options`).
    options = models.JSONField(null=True, blank=True)
    # The JSON Schema of the response, if there is one, and the value of a response that meets it.
    output_schema = OrderedJSONField(null=True, blank=True)
    output = OrderedJSONField(null=True, blank=True)
    # Whether its events are stored (`EventBatch`). Otherwise they follow from the steps.
    is_streamed = models.BooleanField(default=False, db_default=False)
    # Whether the tenant has deleted it at `/v1`. The history still has it.
    is_hidden = models.BooleanField(default=False, db_default=False)

    class Meta:
        ordering = ("-created_at", "-id")
        constraints = [
            # One run at a time in a conversation.
            models.UniqueConstraint(
                fields=("conversation_id",),
                condition=models.Q(
                    conversation_id__isnull=False,
                    status__in=("queued", "running", "requires_action"),
                ),
                name="conversation_busy",
            )
        ]
        indexes = [
            models.Index(
                fields=("conversation_id", "created_at", "id"),
                condition=models.Q(conversation_id__isnull=False),
                name="execution_by_conversation",
            ),
            models.Index(fields=("tenant", "-created_at", "-id"), name="execution_by_age"),
            # For the filters of the history. Each has its rows in the order of the list, so that a page of a
            # frequent value and one of a rare value are as fast. For each combination of filters, there is
            # an index that has all of their columns.
            models.Index(
                fields=("tenant", "agent_id", "-created_at", "-id"),
                include=("model", "status", "key_prefix"),
                name="execution_by_agent",
            ),
            models.Index(
                fields=("tenant", "key_prefix", "-created_at", "-id"),
                include=("model", "status"),
                name="execution_by_key",
            ),
            models.Index(
                fields=("tenant", "model", "-created_at", "-id"),
                include=("status",),
                name="execution_by_model",
            ),
            models.Index(
                fields=("tenant", "status", "-created_at", "-id"), name="execution_by_status"
            ),
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
            # For leases and the queue. Few rows match, and extending a lease does not update the index.
            models.Index(
                fields=("status", "tenant", "created_at"),
                condition=models.Q(status__in=("queued", "running")),
                name="execution_unfinished",
            ),
            # For the report of failures, which reads this index alone. Only failed runs pay for it.
            models.Index(
                fields=("created_at",),
                include=(
                    *("tenant", "error_code", "error_reason", "stop_reason"),
                    *("model", "provider"),
                ),
                condition=models.Q(status="failed"),
                name="execution_failed",
            ),
            # For the search of the admin. Not a hash index: with a client that uses one request ID for all of
            # its runs, inserts would become slower and slower.
            models.Index(fields=("request_id",), name="execution_by_request"),
        ]

    def __str__(self) -> str:
        return str(self.id)

    @property
    def output_errors(self) -> list[str] | None:
        """Why the response is no valid output, if the run failed because of that."""
        if self.stop_reason != StopReason.OUTPUT_INVALID:
            return None
        return response_errors(self.response, self.output_schema)


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
    # Of a model step, to continue the run after an interruption: why the response ended, and the fields of
    # the message and of its calls that the server expects back, as JSON. Text, because `jsonb` sorts keys.
    finish_reason = models.CharField(max_length=20, blank=True, default="", db_default="")
    extra = models.TextField(blank=True, default="", db_default="")
    # Of a tool step: whether the call has begun and has no result yet, and whether it may be repeated.
    is_running = models.BooleanField(default=False, db_default=False)
    idempotent = models.BooleanField(default=False, db_default=False)
    # Of a tool step: the decision about the call, if it needed one.
    approval_id = models.UUIDField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ("execution", "position")
        constraints = [
            models.UniqueConstraint(fields=("execution", "position"), name="step_position_unique")
        ]
        indexes = [
            # For the reports of tool calls. They add 2 us to a call. They include no column: an update of an
            # included one, such as the latency of a call that has ended, would write to the index again.
            models.Index(
                fields=("created_at",), condition=models.Q(kind="tool"), name="step_tool_by_time"
            ),
            models.Index(
                fields=("created_at",),
                condition=models.Q(kind="tool") & ~models.Q(error=""),
                name="step_tool_error_by_time",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.execution_id} {self.position}"


class Conversation(models.Model):
    """Runs of a tenant that continue one another, one at a time."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, db_index=False)
    metadata = models.JSONField(null=True, blank=True)
    # The one that the next run continues (`executions.conversations.services.append`).
    latest_execution_id = models.UUIDField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ("created_at", "id")
        indexes = [
            models.Index(fields=("tenant", "created_at", "id"), name="conversation_by_age"),
            # For the list of the admin, of all tenants.
            models.Index(fields=("created_at", "id"), name="conversation_by_time"),
        ]

    def __str__(self) -> str:
        return str(self.id)


class EventBatch(models.Model):
    """Consecutive events of a streamed run, as they were sent (`executions.events`)."""

    execution = models.ForeignKey(
        Execution, on_delete=models.CASCADE, db_constraint=False, db_index=False
    )
    # The `sequence_number` of its first event.
    first_number = models.IntegerField()
    # One event in a line: its JSON.
    events = models.TextField()
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ("execution", "first_number")
        constraints = [
            models.UniqueConstraint(
                fields=("execution", "first_number"), name="event_number_unique"
            )
        ]
        indexes = [models.Index(fields=("created_at",), name="event_batch_by_age")]

    def __str__(self) -> str:
        return f"{self.execution_id} {self.first_number}"
