"""Command line options for the models that a tenant may use."""

import argparse
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser

from agents.language_models import check_allow_list
from map_project.tenants.lookup import text
from map_project.tenants.models import Tenant

NOT_GIVEN = object()


def add_model_options(parser: CommandParser) -> None:
    """Add `--models`, `--all-models` and `--no-models`, which exclude each other."""
    group = parser.add_mutually_exclusive_group()
    options: dict[str, Any] = {"dest": "models", "default": NOT_GIVEN}
    group.add_argument(
        "--models",
        type=_names,
        metavar="NAME,NAME",
        help="allow only these models",
        **options,
    )
    for name, value, help_text in (
        ("--all-models", None, "allow all models (the default of a new tenant)"),
        ("--no-models", [], "allow no models"),
    ):
        group.add_argument(name, action="store_const", const=value, help=help_text, **options)


def set_allowed_models(tenant: Tenant, options: Mapping[str, Any]) -> None:
    """Set `allowed_models` of the tenant if an option was given. Raises CommandError."""
    names = options["models"]
    if names is NOT_GIVEN:
        return
    try:
        check_allow_list(names, tenant.allowed_models)
    except ValidationError as error:
        raise CommandError(" ".join(error.messages)) from None
    tenant.allowed_models = names


def _names(value: str) -> list[str]:
    names = [name.strip() for name in text(value).split(",")]
    if not all(names):
        raise argparse.ArgumentTypeError("Enter names separated by commas.")
    return names
