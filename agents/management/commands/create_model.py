"""`manage.py create_model NAME [--provider openai] [--base-url URL] [--credential-stdin] …`"""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from agents.management.model_options import NOT_GIVEN, add_model_options, save_model
from agents.models import LanguageModel
from map_project.tenants.lookup import text


class Command(BaseCommand):
    """The provider is `openai` by default: a server that implements OpenAI's Chat Completions."""

    help = "Create a language model. All processes offer it within two seconds."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", type=text, help="the name that tenants use")
        add_model_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["provider"] is NOT_GIVEN:
            options["provider"] = "openai"
        save_model(LanguageModel(name=options["name"]), options)
        if options["verbosity"]:
            self.stdout.write(f'Created model "{options["name"]}".')
