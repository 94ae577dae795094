"""`manage.py list_api_keys [TENANT]`"""

from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from map_project.tenants.lookup import tenant_called, text
from map_project.tenants.models import ApiKey


class Command(BaseCommand):
    """A line a key, its fields separated by tabs; "-" for what never happened."""

    help = "List API keys: prefix, tenant, name, created, last used, expires, revoked."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "tenant", type=text, nargs="?", help="its name or id; all tenants if left out"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        keys = ApiKey.objects.select_related("tenant").order_by("tenant__name", "created_at", "id")
        if options["tenant"]:
            keys = keys.filter(tenant=tenant_called(options["tenant"]))
        for key in keys.iterator():
            times = (key.created_at, key.last_used_at, key.expires_at, key.revoked_at)
            names = (_in_one_column(key.tenant.name), _in_one_column(key.name) or "-")
            self.stdout.write("\t".join((key.prefix, *names, *map(_written, times))))


def _in_one_column(name: str) -> str:
    """Without tabs, line breaks, and what a terminal would obey."""
    return "".join(character if character.isprintable() else " " for character in name)


def _written(time: datetime | None) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}" if time else "-"
