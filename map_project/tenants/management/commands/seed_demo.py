"""`manage.py seed_demo [--force]`"""

import uuid
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import IntegrityError, transaction

from map_project.tenants.keys import hash_key, keep_key
from map_project.tenants.models import ApiKey, Tenant

DEMO = (
    (uuid.UUID("11111111-1111-1111-1111-111111111111"), "Tenant A", "tenant-a-key"),
    (uuid.UUID("22222222-2222-2222-2222-222222222222"), "Tenant B", "tenant-b-key"),
)


class Command(BaseCommand):
    """Two tenants with keys that everybody knows. What is there already stays as it is."""

    help = "Make the demo tenants A and B with their keys (development only)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--force", action="store_true", help="outside development too: the keys are public"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEVELOPMENT and not options["force"]:
            raise CommandError(
                "The demo keys are known to everybody: outside development, seed_demo needs --force."
            )
        try:
            with transaction.atomic():
                for pk, name, key in DEMO:
                    tenant, _ = Tenant.objects.get_or_create(pk=pk, defaults={"name": name})
                    if not ApiKey.objects.filter(key_hash=hash_key(key)).exists():
                        keep_key(tenant=tenant, key=key, name="demo")
        except IntegrityError:
            raise CommandError(
                "Another tenant has the name of a demo tenant, or another process is seeding."
            ) from None
