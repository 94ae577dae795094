"""`manage.py revoke_api_key PREFIX`"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from map_project.tenants.keys import PREFIX_LENGTH, revoke_key
from map_project.tenants.lookup import text
from map_project.tenants.models import ApiKey


class Command(BaseCommand):
    help = "Revoke the API key with this prefix. All processes reject it within one second."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("prefix", type=text, help="the first 12 characters of the key")

    def handle(self, *args: Any, **options: Any) -> None:
        key = ApiKey.objects.filter(prefix=options["prefix"]).first()
        if key is None:
            # The argument can be a whole key, and the message can end up in a log.
            shown = options["prefix"][:PREFIX_LENGTH]
            raise CommandError(f"No API key has the prefix {shown!r}.")
        revoke_key(key=key)
