"""`manage.py test_model NAME`"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from agents.management.model_options import get_model
from executions.connection_checks import check_connection
from map_project.tenants.lookup import text


class Command(BaseCommand):
    """Fails if a request fails."""

    help = "Send two short requests to a language model, one of them with a tool."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("model", type=text, help="name of the model")

    def handle(self, *args: Any, **options: Any) -> None:
        for check in check_connection(get_model(options["model"])):
            if not check.passed:
                raise CommandError(check.text)
            self.stdout.write(check.text)
