"""What is read of a key, now and then of each that is in use: defined by the ORM, compiled once."""

from django.db.models import Q
from django.db.models.functions import Now

from map_project.postgresql.compiled import Compiled
from map_project.tenants.models import ApiKey

# Whose key it is: nobody's, if it is unknown, expired or revoked, or its tenant is deactivated.
CALLER = Compiled(
    lambda key_hash: (
        ApiKey.objects.filter(
            Q(expires_at=None) | Q(expires_at__gt=Now()),
            key_hash=key_hash,
            revoked_at=None,
            tenant__is_active=True,
        )
        .order_by()
        .values(
            "tenant_id",
            "id",
            "prefix",
            "tenant__rate_limit_requests",
            "tenant__rate_limit_window_seconds",
            "tenant__allowed_models",
        )
    ),
    key_hash=str,
)
