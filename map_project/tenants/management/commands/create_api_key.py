"""`manage.py create_api_key TENANT [--name TEXT] [--scopes LIST] [--expires-in DAYS]`"""

import argparse
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from map_project.tenants.keys import issue_key
from map_project.tenants.lookup import get_tenant, text, whole_number
from map_project.tenants.scopes import DEFAULT_SCOPES, SCOPES

MAX_DAYS = 36_500


class Command(BaseCommand):
    help = "Create an API key for a tenant and print it. It cannot be shown again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant", type=text, help="name or ID of the tenant")
        parser.add_argument("--name", type=text, default="", help="purpose of the key")
        parser.add_argument(
            "--scopes",
            type=_scopes,
            metavar="LIST",
            help=f"some of {','.join(SCOPES)}; {','.join(DEFAULT_SCOPES)} if omitted",
        )
        parser.add_argument("--expires-in", type=whole_number, metavar="DAYS")

    def handle(self, *args: Any, **options: Any) -> None:
        days = options["expires_in"]
        if days is not None and not 1 <= days <= MAX_DAYS:
            raise CommandError(f"--expires-in must be from 1 to {MAX_DAYS} days.")
        if len(options["name"]) > 100:
            raise CommandError("--name must have at most 100 characters.")
        _, key = issue_key(
            tenant=get_tenant(options["tenant"]),
            name=options["name"],
            scopes=options["scopes"],
            expires_in=timedelta(days=days) if days else None,
        )
        self.stdout.write(key)


def _scopes(value: str) -> list[str]:
    """The type of a list of scopes, separated by commas."""
    scopes = value.split(",")
    if not set(scopes) <= set(SCOPES):
        raise argparse.ArgumentTypeError(f"Enter scopes of {','.join(SCOPES)}, not {value!r}.")
    return scopes
