"""Approvals of tool calls."""

from django.db import models
from django.db.models.functions import Now

from map_project.api.ids import uuid7
from map_project.tenants.models import Tenant


class Approval(models.Model):
    """The decision of a person about one tool call. The arguments are those that are executed."""

    class Status(models.TextChoices):
        """The status of an approval."""

        PENDING = "pending"
        APPROVED = "approved"
        DECLINED = "declined"
        EXPIRED = "expired"  # the time was over, or the run ended before

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey(
        Tenant, on_delete=models.PROTECT, db_constraint=False, db_index=False
    )
    execution = models.ForeignKey(
        "executions.Execution", on_delete=models.CASCADE, related_name="approvals", db_index=False
    )
    # The position of the step of the call, and the attempt that requested it.
    position = models.PositiveSmallIntegerField()
    attempt = models.SmallIntegerField()
    tool_id = models.UUIDField()
    tool_name = models.CharField(max_length=100)
    arguments = models.TextField(blank=True)
    arguments_sha256 = models.CharField(max_length=64)
    status = models.CharField(max_length=10, choices=Status, default=Status.PENDING)
    reason = models.TextField(blank=True, default="")
    decided_by = models.CharField(max_length=12, blank=True, default="")
    decided_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField()

    class Meta:
        ordering = ("-created_at", "-id")
        constraints = [
            models.UniqueConstraint(fields=("execution", "position"), name="approval_unique")
        ]
        indexes = [
            models.Index(fields=("tenant", "-created_at", "-id"), name="approval_by_age"),
            models.Index(fields=("created_at", "id"), name="approval_by_time"),
            models.Index(
                fields=("tenant", "status", "-created_at", "-id"), name="approval_by_status"
            ),
            models.Index(
                fields=("expires_at",),
                condition=models.Q(status="pending"),
                name="approval_pending",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.tool_name} {self.id}"
