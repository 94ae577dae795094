"""`manage.py list_api_keys [TENANT]`"""

from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from map_project.api.texts import printable
from map_project.tenants.keys import creator_of, scopes_of
from map_project.tenants.lookup import get_tenant, text
from map_project.tenants.models import ApiKey


class Command(BaseCommand):
    """Prints one line per key, with tabs between the fields and "-" for an empty one."""

    help = "List API keys: prefix, tenant, name, created, last used, expires, revoked, scopes, created by."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "tenant", type=text, nargs="?", help="name or ID of the tenant; all tenants if omitted"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        keys = ApiKey.objects.select_related("tenant").order_by("tenant__name", "created_at", "id")
        if options["tenant"]:
            keys = keys.filter(tenant=get_tenant(options["tenant"]))
        for key in keys.iterator():
            times = (key.created_at, key.last_used_at, key.expires_at, key.revoked_at)
            names = (printable(key.tenant.name), printable(key.name) or "-")
            creator = printable(creator_of(key)) or "-"
            scopes = ",".join(scopes_of(key))
            fields = (key.prefix, *names, *map(_format_time, times), scopes or "-", creator)
            self.stdout.write("\t".join(fields))


def _format_time(time: datetime | None) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}" if time else "-"
