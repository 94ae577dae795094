"""The command `reset`, which `make reset` calls."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from map_project.embedded import location
from map_project.embedded.instance import single_instance
from map_project.embedded.servers import delete_data


class Command(BaseCommand):
    """Asks first, like Django's `flush`. A database elsewhere (DATABASE_URL) is not touched."""

    help = "Delete the data of this checkout's PostgreSQL and Redis, and its secrets."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--noinput",
            "--no-input",
            action="store_false",
            dest="interactive",
            help="do not ask for confirmation",
        )

    def handle(self, *_args: Any, interactive: bool, **_options: Any) -> None:
        place = location(settings.BASE_DIR)
        with single_instance(place.data_dir):
            if interactive:
                self._ask(f"All tenants, keys, tools, agents and runs in {place.data_dir}")
            delete_data(place)
        self.stdout.write(f"Deleted the data in {place.data_dir}.")

    def _ask(self, what: str) -> None:
        try:
            answer = input(f"{what} will be deleted. Enter 'yes' to continue: ")
        except EOFError:
            answer = ""
        if answer.strip() != "yes":
            raise CommandError("Nothing was deleted. Use --noinput to delete without confirmation.")
