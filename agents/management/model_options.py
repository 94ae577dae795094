"""The options of the commands that write language models."""

import argparse
import re
import sys
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser

from agents.credentials import encrypted_credential
from agents.models import LanguageModel
from map_project.api import audit
from map_project.tenants.lookup import text, whole_number

NOT_GIVEN = object()
_DECIMAL = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,12})?")
_FIELDS = {
    "provider": "provider",
    "upstream_name": "upstream_name",
    "base_url": "base_url",
    "input_price": "input_price_per_million",
    "output_price": "output_price_per_million",
    "timeout": "timeout_seconds",
    "max_retries": "max_retries",
    "max_output_tokens": "max_output_tokens",
    "active": "is_active",
}


def add_model_options(parser: CommandParser) -> None:
    """Add an option for each field except the name. The default of each is `NOT_GIVEN`."""

    def add(option: str, help_text: str, **options: Any) -> None:
        parser.add_argument(option, help=help_text, default=NOT_GIVEN, **options)

    add("--provider", "provider that serves the model", choices=[*settings.MODEL_PROVIDERS])
    add(
        "--upstream-name",
        'model ID at the provider; "" to use the name of the model',
        type=text,
        metavar="ID",
    )
    add("--base-url", 'base URL of the API; "" for that of the provider', type=text, metavar="URL")
    add(
        "--input-price",
        'USD per 1 million input tokens, or "none" if unknown',
        type=_price,
        metavar="USD",
    )
    add("--output-price", "USD per 1 million output tokens, or none", type=_price, metavar="USD")
    add("--timeout", "timeout per request", type=whole_number, metavar="SECONDS")
    add("--max-retries", "maximum retries per request", type=whole_number, metavar="N")
    add(
        "--max-output-tokens",
        'maximum tokens per response, or "none" for the provider\'s default',
        type=_number,
        metavar="N",
    )
    state = parser.add_mutually_exclusive_group()
    state.add_argument("--active", action="store_true", dest="active", default=NOT_GIVEN)
    state.add_argument("--inactive", action="store_false", dest="active", default=NOT_GIVEN)
    credential = parser.add_mutually_exclusive_group()
    credential.add_argument(
        "--credential",
        type=text,
        help="the credential; visible in the process list, so prefer --credential-stdin",
    )
    credential.add_argument(
        "--credential-stdin",
        action="store_true",
        help="read the credential from the first line of stdin",
    )


def save_model(model: LanguageModel, options: Mapping[str, Any]) -> None:
    """Set the fields of the options that were given, validate the model and save it. Raises CommandError."""
    for option, field in _FIELDS.items():
        if options[option] is not NOT_GIVEN:
            setattr(model, field, options[option])
    credential = options["credential"]
    if options["credential_stdin"]:
        credential = sys.stdin.readline().strip()
    try:
        if credential is not None:
            model.credential_token = encrypted_credential(credential)
        model.full_clean()
    except ValidationError as error:
        raise CommandError(" ".join(error.messages)) from None
    audit.save(model)


def get_model(name: str) -> LanguageModel:
    """Return the model with this name. Raises CommandError."""
    model = LanguageModel.objects.filter(name=name).first()
    if model is None:
        raise CommandError(f"No model has the name {name!r}.")
    return model


def _number(value: str) -> int | None:
    return None if value == "none" else whole_number(value)


def _price(value: str) -> Decimal | None:
    if value == "none":
        return None
    if not _DECIMAL.fullmatch(value):
        raise argparse.ArgumentTypeError(f"{value!r} is not a number such as 2.50")
    return Decimal(value)
