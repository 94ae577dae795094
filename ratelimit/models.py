"""The idempotency keys of run calls."""

from django.db import models
from django.db.models.functions import Now

from map_project.tenants.models import Tenant


class IdempotentRequest(models.Model):
    """A run call with the header `Idempotency-Key`, stored in the transaction that stores its execution.

    A call that was refused before is not stored.
    """

    tenant = models.ForeignKey(
        Tenant, on_delete=models.CASCADE, db_constraint=False, db_index=False
    )
    key = models.CharField(max_length=255)
    # SHA-256 of the route and of the parsed body.
    fingerprint = models.CharField(max_length=64)
    execution_id = models.UUIDField()
    # Null until the response was sent, and for background runs, whose response is the current state.
    response_status = models.SmallIntegerField(null=True, blank=True)
    response_body = models.TextField(blank=True, default="", db_default="")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=("tenant", "key"), name="idempotency_key_unique")
        ]
        indexes = [models.Index(fields=("created_at",), name="idempotency_by_age")]

    def __str__(self) -> str:
        return self.key
