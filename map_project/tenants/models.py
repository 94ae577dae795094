"""A tenant and its API keys."""

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Now

from map_project.api.ids import uuid7

MAX_REQUESTS = 1_000_000
# The limiter's clock counts microseconds in 32 bits: nothing above 2^31 us can be told apart from
# the past, and some room is left.
MAX_WINDOW_SECONDS = 2_100


def list_of_names(value: object) -> None:
    """Raises ValidationError for what is no list of names, each once."""
    entries = value if isinstance(value, list) else [None]
    names = [entry for entry in entries if isinstance(entry, str) and entry.strip()]
    if len(set(names)) < len(entries):
        raise ValidationError('A list of names, each once: ["gpt-4o", "gpt-4"].')


class Tenant(models.Model):
    """A customer. Deactivated rather than deleted: its history outlives it."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=100, unique=True)
    is_active = models.BooleanField(default=True, help_text="Off: every key of it is refused.")
    rate_limit_requests = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_REQUESTS)],
        help_text="Runs in a window; empty means the setting RATE_LIMIT_REQUESTS.",
    )
    rate_limit_window_seconds = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_WINDOW_SECONDS)],
        help_text="Empty means the setting RATE_LIMIT_WINDOW_SECONDS. A change starts a new window.",
    )
    allowed_models = models.JSONField(
        null=True,
        blank=True,
        validators=[list_of_names],
        help_text="Names of the models that it may use, a JSON list; empty means all of them.",
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
        ]

    def __str__(self) -> str:
        return self.name


class ApiKey(models.Model):
    """A key as we know it: its SHA-256 and its first characters, never the key itself."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="api_keys")
    name = models.CharField(max_length=100, blank=True)
    prefix = models.CharField(max_length=12, unique=True, editable=False)
    key_hash = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ("created_at", "id")
        verbose_name = "API key"

    def __str__(self) -> str:
        return self.prefix


class TenantOwned(models.Model):
    """A row of one tenant: how it is found, when it was made and changed."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        abstract = True
