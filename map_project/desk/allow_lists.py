"""A tenant's allow-list of models, as an operator gives it in a terminal."""

import argparse
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from agents.language_models import check_allow_list
from map_project.tenants.lookup import text
from map_project.tenants.models import Tenant

_LEFT_OUT = object()


class ModelOptions(BaseCommand):
    """The options of a command that writes a tenant, and what they do."""

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        models = parser.add_mutually_exclusive_group()
        what: dict[str, Any] = {"dest": "models", "default": _LEFT_OUT}
        models.add_argument(
            "--models", type=_names, metavar="NAME,NAME", help="it may use these alone", **what
        )
        for option, value, told in (
            ("--all-models", None, "it may use all there are, as if nothing was ever said"),
            ("--no-models", [], "it may use none"),
        ):
            models.add_argument(option, action="store_const", const=value, help=told, **what)

    def give_models(self, tenant: Tenant, options: Mapping[str, Any]) -> None:
        """Raises CommandError."""
        names = options["models"]
        if names is _LEFT_OUT:
            return
        try:
            check_allow_list(names, tenant.allowed_models)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        tenant.allowed_models = names


def _names(value: str) -> list[str]:
    names = [name.strip() for name in text(value).split(",")]
    if not all(names):
        raise argparse.ArgumentTypeError("Expected names with a comma between two.")
    return names
