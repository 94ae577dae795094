"""`manage.py create_api_key TENANT [--name TEXT] [--expires-in DAYS]`"""

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from map_project.tenants.keys import issue_key
from map_project.tenants.lookup import tenant_called, text, whole_number

MAX_DAYS = 36_500


class Command(BaseCommand):
    """Prints the key and nothing else. It is shown this once: only its hash is kept."""

    help = "Make an API key of a tenant; it is printed once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant", type=text, help="its name or id")
        parser.add_argument("--name", type=text, default="", help="what the key is for")
        parser.add_argument("--expires-in", type=whole_number, metavar="DAYS")

    def handle(self, *args: Any, **options: Any) -> None:
        days = options["expires_in"]
        if days is not None and not 1 <= days <= MAX_DAYS:
            raise CommandError(f"--expires-in must be from 1 to {MAX_DAYS} days.")
        if len(options["name"]) > 100:
            raise CommandError("--name must be a text of at most 100 characters.")
        _, key = issue_key(
            tenant=tenant_called(options["tenant"]),
            name=options["name"],
            expires_in=timedelta(days=days) if days else None,
        )
        self.stdout.write(key)
