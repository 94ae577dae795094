"""`manage.py update_tenant TENANT [--name …] [--rate-limit N|default] [--window S|default] …`"""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from map_project.desk.model_options import NOT_GIVEN, add_model_options, set_allowed_models
from map_project.tenants.lookup import (
    amount_or_none,
    get_tenant,
    number_or_default,
    number_or_forever,
    save_tenant,
    text,
)

_FIELDS = {
    "name": "name",
    "rate_limit": "rate_limit_requests",
    "window": "rate_limit_window_seconds",
    "max_concurrent_runs": "max_concurrent_runs",
    "max_queued_runs": "max_queued_runs",
    "budget_usd_day": "budget_usd_day",
    "budget_usd_month": "budget_usd_month",
    "budget_warning_percent": "budget_warning_percent",
    "retention_days": "retention_days",
    "active": "is_active",
}


class Command(BaseCommand):
    """Options that are not given leave their field unchanged."""

    help = "Change a tenant. All processes apply the change within one second."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant", type=text, help="name or ID of the tenant")
        parser.add_argument("--name", type=text, default=NOT_GIVEN)
        for option, metavar in (
            ("--rate-limit", "N|default"),
            ("--window", "SECONDS|default"),
            ("--max-concurrent-runs", "N|default"),
            ("--max-queued-runs", "N|default"),
            ("--budget-warning-percent", "N|default"),
        ):
            parser.add_argument(option, type=number_or_default, default=NOT_GIVEN, metavar=metavar)
        for option in ("--budget-usd-day", "--budget-usd-month"):
            parser.add_argument(option, type=amount_or_none, default=NOT_GIVEN, metavar="USD|none")
        parser.add_argument(
            "--retention-days", type=number_or_forever, default=NOT_GIVEN, metavar="N|forever"
        )
        state = parser.add_mutually_exclusive_group()
        state.add_argument("--active", action="store_true", dest="active", default=NOT_GIVEN)
        state.add_argument("--inactive", action="store_false", dest="active", default=NOT_GIVEN)
        add_model_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = get_tenant(options["tenant"])
        for option, field in _FIELDS.items():
            if options[option] is not NOT_GIVEN:
                setattr(tenant, field, options[option])
        set_allowed_models(tenant, options)
        save_tenant(tenant)
