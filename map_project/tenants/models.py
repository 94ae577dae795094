"""Tenants, their API keys, and the base class of all rows of a tenant."""

from collections.abc import Mapping
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Coalesce, Now

from map_project.api.ids import uuid7

MAX_REQUESTS = 1_000_000
# Of a tenant that has no value of its own.
DEFAULT_QUEUED_RUNS = 1_000
DEFAULT_WARNING_PERCENT = 80
# A hundred years.
MAX_RETENTION_DAYS = 36_500
# The limiter stores times as 32-bit microseconds, so a window must be shorter than 2^31 us.
MAX_WINDOW_SECONDS = 2_100

# Of a field for an amount in USD.
_AMOUNT: Mapping[str, Any] = {
    "max_digits": 18,
    "decimal_places": 9,
    "null": True,
    "blank": True,
    "validators": [MinValueValidator(0)],
}


def list_of_names(value: object) -> None:
    """Validate a list of distinct, non-blank strings."""
    entries = value if isinstance(value, list) else [None]
    names = [entry for entry in entries if isinstance(entry, str) and entry.strip()]
    if len(set(names)) < len(entries):
        raise ValidationError('Enter a list of distinct names, for example ["gpt-4o", "gpt-4"].')


class Tenant(models.Model):
    """A customer. Tenants are deactivated instead of deleted, so that their history remains."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=100, unique=True)
    is_active = models.BooleanField(
        default=True, help_text="When off, all of this tenant's API keys are rejected."
    )
    rate_limit_requests = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_REQUESTS)],
        help_text="Maximum runs per window. Leave blank for the default (RATE_LIMIT_REQUESTS).",
    )
    rate_limit_window_seconds = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_WINDOW_SECONDS)],
        help_text="Leave blank for the default (RATE_LIMIT_WINDOW_SECONDS). "
        "Changing this resets the current usage.",
    )
    max_concurrent_runs = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_REQUESTS)],
        help_text="Maximum runs at the same time. Background runs wait in the queue. "
        "Leave blank for no limit.",
    )
    max_queued_runs = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MaxValueValidator(MAX_REQUESTS)],
        help_text="Maximum background runs that wait in the queue. Leave blank for 1,000.",
    )
    allowed_models = models.JSONField(
        null=True,
        blank=True,
        validators=[list_of_names],
        help_text="Models this tenant may use: a JSON list of names. Leave blank for all models.",
    )
    budget_usd_day = models.DecimalField(
        "budget per day (USD)",
        **_AMOUNT,
        help_text="Maximum cost of the model calls in a day (UTC). Leave blank for no limit.",
    )
    budget_usd_month = models.DecimalField(
        "budget per month (USD)",
        **_AMOUNT,
        help_text="Maximum cost of the model calls in a month (UTC). Leave blank for no limit.",
    )
    budget_warning_percent = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(100)],
        help_text="Percent of a budget at which the tenant's webhooks receive budget.warning. "
        "Leave blank for 80.",
    )
    retention_days = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_RETENTION_DAYS)],
        help_text="Days after which runs that have ended are deleted from the history. "
        "Leave blank to keep them forever.",
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ("name",)
        constraints = [
            models.CheckConstraint(
                condition=models.Q(rate_limit_requests__isnull=True)
                | models.Q(rate_limit_requests__range=(1, MAX_REQUESTS)),
                name="tenant_rate_limit_requests_in_range",
            ),
            models.CheckConstraint(
                condition=models.Q(rate_limit_window_seconds__isnull=True)
                | models.Q(rate_limit_window_seconds__range=(1, MAX_WINDOW_SECONDS)),
                name="tenant_rate_limit_window_in_range",
            ),
            models.CheckConstraint(
                condition=models.Q(budget_usd_day__isnull=True) | models.Q(budget_usd_day__gte=0),
                name="tenant_budget_usd_day_in_range",
            ),
            models.CheckConstraint(
                condition=models.Q(budget_usd_month__isnull=True)
                | models.Q(budget_usd_month__gte=0),
                name="tenant_budget_usd_month_in_range",
            ),
            models.CheckConstraint(
                condition=models.Q(budget_warning_percent__isnull=True)
                | models.Q(budget_warning_percent__range=(1, 100)),
                name="tenant_budget_warning_percent_in_range",
            ),
            models.CheckConstraint(
                condition=models.Q(retention_days__isnull=True)
                | models.Q(retention_days__range=(1, MAX_RETENTION_DAYS)),
                name="tenant_retention_days_in_range",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def has_budget(self) -> bool:
        """Whether a budget limits its spending."""
        return self.budget_usd_day is not None or self.budget_usd_month is not None


class ApiKey(models.Model):
    """An API key, stored as its SHA-256 hash and its first 12 characters."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="api_keys")
    name = models.CharField(max_length=100, blank=True)
    prefix = models.CharField(max_length=12, unique=True, editable=False)
    key_hash = models.CharField(max_length=64, unique=True, editable=False)
    # Null: `DEFAULT_SCOPES`.
    scopes = ArrayField(
        models.CharField(max_length=20),
        null=True,
        editable=False,
    )
    # Of the operator or of the API key that created this one. Both are empty for keys of older releases.
    created_by = models.CharField(max_length=150, db_default="", blank=True, editable=False)
    created_by_key = models.CharField(max_length=12, db_default="", blank=True, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    # The time of the first rotation, and `expires_at` before it: the grace period shortens it.
    rotated_at = models.DateTimeField(null=True, editable=False)
    original_expires_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ("created_at", "id")
        verbose_name = "API key"
        indexes = [
            models.Index(fields=("tenant", "created_at", "id"), name="api_key_by_age"),
            # For the keys that have been unused the longest.
            models.Index(
                Coalesce("last_used_at", "created_at"),
                "id",
                condition=models.Q(revoked_at=None),
                name="api_key_by_activity",
            ),
        ]

    def __str__(self) -> str:
        return self.prefix


class TenantOwned(models.Model):
    """A row that belongs to one tenant."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        abstract = True
