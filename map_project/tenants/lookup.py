"""Arguments of management commands: tenants, texts and numbers."""

import argparse
import re
from decimal import Decimal

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError

from map_project.api import audit
from map_project.api.fields import parse_uuid
from map_project.tenants.models import Tenant

_AMOUNT = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


def get_tenant(name_or_id: str) -> Tenant:
    """The tenant with this ID or, if there is none, with this name. Raises CommandError."""
    pk = parse_uuid(name_or_id)
    tenant = Tenant.objects.filter(pk=pk).first() if pk else None
    tenant = tenant or Tenant.objects.filter(name=name_or_id).first()
    if tenant is None:
        raise CommandError(f"No tenant has the name or ID {name_or_id!r}.")
    return tenant


def save_tenant(tenant: Tenant) -> None:
    """Validate and save the tenant. Raises CommandError."""
    try:
        tenant.name = tenant.name.strip()
        tenant.full_clean()
    except ValidationError as error:
        raise CommandError(" ".join(error.messages)) from None
    audit.save(tenant)


def text(value: str) -> str:
    """The type of a text argument: Python decodes bytes that are not UTF-8 as surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError("the text is not UTF-8") from None
    if "\0" in value:
        raise argparse.ArgumentTypeError("the text contains a NUL character")
    return value


def number_or_default(value: str) -> int | None:
    """The type of an argument that is an integer, or `default` for the value of the setting."""
    if value == "default":
        return None
    try:
        return whole_number(value)
    except argparse.ArgumentTypeError:
        message = f'Enter a positive integer or "default", not {value!r}.'
        raise argparse.ArgumentTypeError(message) from None


def amount_or_none(value: str) -> Decimal | None:
    """The type of an argument that is an amount in USD, or `none`."""
    if value == "none":
        return None
    if not _AMOUNT.fullmatch(value):
        message = f'Enter an amount such as 2.50 or "none", not {value!r}.'
        raise argparse.ArgumentTypeError(message)
    return Decimal(value)


def number_or_forever(value: str) -> int | None:
    """The type of an argument that is an integer, or `forever`."""
    return None if value == "forever" else whole_number(value)


def whole_number(value: str) -> int:
    """The type of an integer argument: ASCII digits only."""
    if not (value.isascii() and value.isdigit() and len(value) <= 9):
        raise argparse.ArgumentTypeError(f"Enter a non-negative integer, not {value!r}.")
    return int(value)
