"""Tenants and keys as an operator names them in a terminal. Raises CommandError, a sentence."""

import argparse
from typing import Any

from django.core.management.base import CommandError

from map_project.api.fields import parse_uuid
from map_project.tenants.models import Tenant


def tenant_called(text: str) -> Tenant:
    """The tenant of this id or, where there is none, of this name."""
    pk = parse_uuid(text)
    tenant = Tenant.objects.filter(pk=pk).first() if pk else None
    tenant = tenant or Tenant.objects.filter(name=text).first()
    if tenant is None:
        raise CommandError(f"There is no tenant with the name or id {text!r}.")
    return tenant


def saved(tenant: Tenant) -> Tenant:
    """The tenant, checked and written, all of it or nothing."""
    from django.core.exceptions import ValidationError

    try:
        tenant.name = tenant.name.strip()
        tenant.full_clean()
    except ValidationError as error:
        raise CommandError(" ".join(error.messages)) from None
    tenant.save()
    return tenant


def number_or_default(text: str) -> int | None:
    """An option that is a whole number, or `default` for None: the setting's value."""
    if text == "default":
        return None
    return whole_number(text)


def whole_number(text: str) -> int:
    """A whole number in ASCII digits."""
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number.")
    return int(text)


Options = dict[str, Any]
