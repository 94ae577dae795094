"""`manage.py update_tenant TENANT [--name …] [--rate-limit N|default] [--window S|default] …`"""

from collections.abc import Mapping
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from map_project.tenants.lookup import number_or_default, saved, tenant_called, text
from map_project.tenants.models import Tenant

_FIELDS = {
    "name": "name",
    "rate_limit": "rate_limit_requests",
    "window": "rate_limit_window_seconds",
    "active": "is_active",
}
_LEFT_OUT = object()


class Command(BaseCommand):
    """Changes what is given and leaves the rest."""

    help = "Change a tenant; every process heeds it within a second."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant", type=text, help="its name or id")
        parser.add_argument("--name", type=text, default=_LEFT_OUT)
        for option, metavar in (("--rate-limit", "N|default"), ("--window", "SECONDS|default")):
            parser.add_argument(option, type=number_or_default, default=_LEFT_OUT, metavar=metavar)
        state = parser.add_mutually_exclusive_group()
        state.add_argument("--active", action="store_true", dest="active", default=_LEFT_OUT)
        state.add_argument("--inactive", action="store_false", dest="active", default=_LEFT_OUT)

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = tenant_called(options["tenant"])
        for option, field in _FIELDS.items():
            if options[option] is not _LEFT_OUT:
                setattr(tenant, field, options[option])
        self.give_models(tenant, options)
        saved(tenant)

    def give_models(self, tenant: Tenant, options: Mapping[str, Any]) -> None:
        """Which models there are is known above."""
