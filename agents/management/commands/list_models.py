"""`manage.py list_models`"""

from typing import Any

from django.core.management.base import BaseCommand

from agents.models import LanguageModel
from map_project.api.texts import plain_amount


class Command(BaseCommand):
    """Prints one line per model, with tabs between the fields and "-" for an empty one."""

    help = (
        "List language models: name, provider, upstream name, base URL, credential, state, prices."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        for model in LanguageModel.objects.all():
            fields = (
                model.name,
                model.provider,
                model.upstream_name,
                model.base_url,
                "set" if model.credential_token else "",
                "active" if model.is_active else "inactive",
                _price(model.input_price_per_million),
                _price(model.output_price_per_million),
            )
            self.stdout.write("\t".join(_printable(field) or "-" for field in fields))


def _price(price: Any) -> str:
    return "" if price is None else plain_amount(price)


def _printable(text: str) -> str:
    """Escape control characters, which a row that was written by other means can have."""
    return "".join(
        character if character.isprintable() else repr(character)[1:-1] for character in text
    )
