"""`manage.py prune_history [--older-than 90d] [--tenant TENANT] [--dry-run]`"""

import argparse
import re
import time
from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from executions.history.pruning import count, prune, retained_tenants
from executions.models import Execution
from map_project.api import audit
from map_project.postgresql.base import allow_any_time
from map_project.tenants.lookup import get_tenant, text
from map_project.tenants.models import MAX_RETENTION_DAYS, Tenant

PROGRESS_SECONDS = 1.0


class Command(BaseCommand):
    """Deletes old executions, in short transactions. Progress is on stderr."""

    help = (
        "Delete executions that have ended, with their steps, approvals and events. Usage totals stay. "
        "Without --older-than, those that are older than the retention of their tenant."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--older-than", type=age, metavar="DAYSd", help="for example 90d: created before"
        )
        parser.add_argument("--tenant", type=text, help="name or ID; default: all tenants")
        parser.add_argument("--dry-run", action="store_true", help="count, and delete nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        allow_any_time()
        deleted = 0
        for tenant, until in _targets(options["tenant"], options["older_than"]):
            number = count(tenant.pk, until) if options["dry_run"] else self._prune(tenant, until)
            if number:
                self.stderr.write(f"{tenant}: {number:,} before {until:%Y-%m-%d %H:%M} UTC")
            deleted += number
        verb = "would be deleted" if options["dry_run"] else "deleted"
        if deleted and not options["dry_run"]:
            audit.record_many(Execution, f"{deleted} executions deleted by prune_history")
        self.stdout.write(f"{deleted:,} executions {verb}.")

    def _prune(self, tenant: Tenant, until: datetime) -> int:
        deleted, started = 0, time.monotonic()
        reported = started
        for batch in prune(tenant.pk, until):
            deleted += batch.deleted
            if time.monotonic() - reported > PROGRESS_SECONDS:
                reported = time.monotonic()
                rate = deleted / (reported - started)
                self.stderr.write(f"{tenant}: {deleted:,} deleted, {rate:,.0f} per second")
        return deleted


def age(value: str) -> timedelta:
    """The type of an age in whole days: `90d`."""
    if re.fullmatch("[0-9]{1,5}d", value) and 1 <= int(value[:-1]) <= MAX_RETENTION_DAYS:
        return timedelta(days=int(value[:-1]))
    message = f"Enter a number of days from 1d to {MAX_RETENTION_DAYS}d, not {value!r}."
    raise argparse.ArgumentTypeError(message)


def _targets(
    tenant_name: str | None, older_than: timedelta | None
) -> list[tuple[Tenant, datetime]]:
    """Return tenants, and the time before which their executions are deleted. Raises CommandError."""
    named = get_tenant(tenant_name) if tenant_name is not None else None
    if older_than is None:
        return [each for each in retained_tenants() if named in {None, each[0]}]
    tenants = [*Tenant.objects.order_by("pk")] if named is None else [named]
    return [(tenant, timezone.now() - older_than) for tenant in tenants]
