"""Tenants and keys as an operator names them in a terminal. Raises CommandError, a sentence."""

import argparse

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError

from map_project.api.fields import parse_uuid
from map_project.tenants.models import Tenant


def tenant_called(called: str) -> Tenant:
    """The tenant of this id or, where there is none, of this name."""
    pk = parse_uuid(called)
    tenant = Tenant.objects.filter(pk=pk).first() if pk else None
    tenant = tenant or Tenant.objects.filter(name=called).first()
    if tenant is None:
        raise CommandError(f"There is no tenant with the name or id {called!r}.")
    return tenant


def saved(tenant: Tenant) -> Tenant:
    """The tenant, checked and written, all of it or nothing."""
    try:
        tenant.name = tenant.name.strip()
        tenant.full_clean()
    except ValidationError as error:
        raise CommandError(" ".join(error.messages)) from None
    tenant.save()
    return tenant


def text(value: str) -> str:
    """An option that a database takes as a text: bytes that are no UTF-8 arrive as surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError("This is not UTF-8.") from None
    if "\0" in value:
        raise argparse.ArgumentTypeError("This holds a NUL.")
    return value


def number_or_default(value: str) -> int | None:
    """An option that is a whole number, or `default` for None: the setting's value."""
    if value == "default":
        return None
    return whole_number(value)


def whole_number(value: str) -> int:
    """A whole number in ASCII digits."""
    if not (value.isascii() and value.isdigit() and len(value) <= 9):
        raise argparse.ArgumentTypeError(f"{value!r} is not a whole number.")
    return int(value)
