"""`manage.py update_model NAME [--name NEW] [--base-url URL] [--credential-stdin] …`"""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from agents.management.model_options import add_model_options, get_model, save_model
from map_project.tenants.lookup import text


class Command(BaseCommand):
    """Options that are not given leave their field unchanged."""

    help = "Change a language model. All processes apply the change within two seconds."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("model", type=text, help="name of the model")
        parser.add_argument("--name", type=text, help="new name")
        parser.add_argument("--remove-credential", action="store_true")
        add_model_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        model = get_model(options["model"])
        if options["name"] is not None:
            model.name = options["name"]
        if options["remove_credential"]:
            model.credential_token = ""
        save_model(model, options)
        if options["verbosity"]:
            self.stdout.write(f'Changed model "{model.name}".')
