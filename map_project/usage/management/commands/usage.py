"""`manage.py usage --tenant TENANT [--month YYYY-MM] [--group-by NAME,NAME] [--csv]`"""

import argparse
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from map_project.api.csv_text import csv_text
from map_project.api.errors import BadRequest
from map_project.api.texts import printable
from map_project.tenants.lookup import get_tenant, text
from map_project.usage.formats import report_lines
from map_project.usage.periods import first_day, month_of
from map_project.usage.reports import read_group_by, usage_of


class Command(BaseCommand):
    """Prints the columns of `GET /usage` as CSV, or with tabs between the fields and "-" for an empty one."""

    help = "Print what the runs of a tenant that ended in a month (UTC) add up to."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", type=text, required=True, help="name or ID of the tenant")
        parser.add_argument("--month", type=_month, metavar="YYYY-MM", help="default: this month")
        parser.add_argument(
            "--group-by", type=text, metavar="NAMES", help="day, model, agent, key, status"
        )
        parser.add_argument("--csv", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = get_tenant(options["tenant"])
        period = month_of(options["month"] or timezone.now().date(), ZoneInfo("UTC"))
        try:
            report = usage_of(tenant.pk, period, read_group_by(options["group_by"]))
        except BadRequest as error:
            raise CommandError(error.message) from None
        header, lines = report_lines(report)
        if options["csv"]:
            self.stdout.write(csv_text(header, lines), ending="")
            return
        for line in (header, *lines):
            self.stdout.write("\t".join(map(_printable, line)))


def _month(value: str) -> date:
    """The type of a month argument."""
    day = first_day(value)
    if day is None:
        raise argparse.ArgumentTypeError(f"Enter a month such as 2026-11, not {value!r}.")
    return day


def _printable(value: object) -> str:
    """The value without tabs, line breaks and control characters."""
    return "-" if value is None else printable(str(value)) or "-"
