"""Endpoints of webhooks, and deliveries to them."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from map_project.api.ids import uuid7
from map_project.api.secrets import TokenField
from map_project.tenants.models import Tenant, TenantOwned

MAX_URL_CHARACTERS = 2_000
ALL_EVENTS = "*"
TEST_EVENT = "webhook.test"


class WebhookEndpoint(TenantOwned):
    """A URL of a tenant that receives events. `event_types` are names, or `*` for all."""

    url = models.CharField(max_length=MAX_URL_CHARACTERS)
    event_types = ArrayField(models.CharField(max_length=50))
    is_active = models.BooleanField(default=True)
    # The encrypted secrets. The previous one signs as well until it expires.
    secret_token = TokenField(editable=False)
    previous_secret_token = TokenField(blank=True, default="", editable=False)
    previous_secret_expires_at = models.DateTimeField(null=True, blank=True, editable=False)
    # The first failed attempt since the last successful one.
    failing_since = models.DateTimeField(null=True, blank=True, editable=False)
    # Why the platform has deactivated it.
    disabled_reason = models.CharField(max_length=200, blank=True, default="", editable=False)

    class Meta:
        ordering = ("created_at", "id")
        verbose_name = "webhook"
        indexes = [models.Index(fields=("tenant", "created_at", "id"), name="webhook_by_age")]

    def __str__(self) -> str:
        return self.url


class WebhookDelivery(models.Model):
    """An event for one endpoint, committed together with the end of the execution. It is its own queue."""

    class Status(models.TextChoices):
        """The status of a delivery."""

        PENDING = "pending"
        SUCCEEDED = "succeeded"
        FAILED = "failed"  # there are no more attempts

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey(
        Tenant, on_delete=models.PROTECT, db_constraint=False, db_index=False
    )
    # Without a constraint: the end of a run must not wait for a change of the endpoint.
    endpoint = models.ForeignKey(
        WebhookEndpoint,
        on_delete=models.CASCADE,
        related_name="deliveries",
        db_constraint=False,
        db_index=False,
    )
    event_type = models.CharField(max_length=50)
    execution_id = models.UUIDField(null=True, blank=True)
    # Of an event that is not about an execution.
    data = models.JSONField(null=True, blank=True)
    status = models.CharField(
        max_length=10, choices=Status, default=Status.PENDING, db_default=Status.PENDING
    )
    attempts = models.PositiveSmallIntegerField(default=0, db_default=0)
    # Of the last attempt: the HTTP status, or why there was no response. The body is not stored.
    response_status = models.PositiveSmallIntegerField(null=True, blank=True)
    error = models.CharField(max_length=50, blank=True, default="", db_default="")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    # When the next attempt is due. A worker that makes an attempt moves it, so that another one repeats the
    # attempt if the worker ends.
    next_attempt_at = models.DateTimeField(db_default=Now(), null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-created_at", "-id")
        verbose_name_plural = "webhook deliveries"
        indexes = [
            models.Index(fields=("endpoint", "-created_at", "-id"), name="delivery_by_age"),
            models.Index(
                fields=("next_attempt_at",),
                condition=models.Q(status="pending"),
                name="delivery_due",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.event_type} {self.id}"
