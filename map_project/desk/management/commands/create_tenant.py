"""`manage.py create_tenant NAME [--rate-limit N] [--window SECONDS] [--models NAME,NAME]`"""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from map_project.desk.model_options import add_model_options, set_allowed_models
from map_project.tenants.lookup import amount_or_none, save_tenant, text, whole_number
from map_project.tenants.models import Tenant


class Command(BaseCommand):
    """Prints only the ID of the new tenant, for use in scripts."""

    help = "Create a tenant and print its ID."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", type=text)
        parser.add_argument(
            "--rate-limit", type=whole_number, metavar="N", help="maximum runs per window"
        )
        parser.add_argument("--window", type=whole_number, metavar="SECONDS")
        parser.add_argument("--max-concurrent-runs", type=whole_number, metavar="N")
        parser.add_argument("--max-queued-runs", type=whole_number, metavar="N")
        for option in ("--budget-usd-day", "--budget-usd-month"):
            parser.add_argument(option, type=amount_or_none, metavar="USD")
        parser.add_argument("--retention-days", type=whole_number, metavar="N")
        add_model_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = Tenant(
            name=options["name"],
            rate_limit_requests=options["rate_limit"],
            rate_limit_window_seconds=options["window"],
            max_concurrent_runs=options["max_concurrent_runs"],
            max_queued_runs=options["max_queued_runs"],
            budget_usd_day=options["budget_usd_day"],
            budget_usd_month=options["budget_usd_month"],
            retention_days=options["retention_days"],
        )
        set_allowed_models(tenant, options)
        save_tenant(tenant)
        self.stdout.write(str(tenant.pk))
