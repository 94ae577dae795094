"""`manage.py create_tenant NAME [--rate-limit N] [--window SECONDS]`"""

from collections.abc import Mapping
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from map_project.tenants.lookup import saved, text, whole_number
from map_project.tenants.models import Tenant


class Command(BaseCommand):
    """Prints the new tenant's id and nothing else, so that a script can take it."""

    help = "Make a tenant; its id is printed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", type=text)
        parser.add_argument("--rate-limit", type=whole_number, metavar="N", help="runs a window")
        parser.add_argument("--window", type=whole_number, metavar="SECONDS")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = Tenant(
            name=options["name"],
            rate_limit_requests=options["rate_limit"],
            rate_limit_window_seconds=options["window"],
        )
        self.give_models(tenant, options)
        self.stdout.write(str(saved(tenant).pk))

    def give_models(self, tenant: Tenant, options: Mapping[str, Any]) -> None:
        """Which models there are is known above."""
