"""`manage.py seed_demo [--force] [--history N]`"""

import argparse
import time
import uuid
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.admin.models import ADDITION
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import IntegrityError, transaction
from django.utils import timezone

from executions.models import Execution
from map_project.api import audit
from map_project.desk.days import forget_days
from map_project.desk.demo import history
from map_project.postgresql.base import allow_any_time
from map_project.tenants.keys import hash_key, store_key
from map_project.tenants.lookup import whole_number
from map_project.tenants.models import ApiKey, Tenant

DEMO_TENANTS = (
    (uuid.UUID("11111111-1111-1111-1111-111111111111"), "Tenant A", "tenant-a-key"),
    (uuid.UUID("22222222-2222-2222-2222-222222222222"), "Tenant B", "tenant-b-key"),
)
_BAR_WIDTH = 30


class Command(BaseCommand):
    """Creates what is missing; existing rows stay unchanged. The demo keys are public."""

    help = (
        "Create the demo tenants A and B with their keys. With --history, also create runs for "
        "the last 30 days."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--force",
            action="store_true",
            help="allow the command outside development, although the demo keys are public",
        )
        parser.add_argument(
            "--history",
            type=_history_size,
            metavar="N",
            help="also create N runs, dated within the last 30 days, for several tenants",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEVELOPMENT and not options["force"]:
            raise CommandError(
                "The demo keys are public: outside development, seed_demo requires --force."
            )
        _create_tenants()
        if number := options["history"]:
            allow_any_time()
            history.create_runs(number, now=timezone.now(), progress=self._progress(number))
            audit.record_many(Execution, f"Created {number:,} demo runs.")
            forget_days()

    def _progress(self, total: int) -> Callable[[int], None]:
        """A function that shows the progress: a bar on a terminal, else a line per 10 %."""
        started = time.monotonic()
        is_terminal = self.stdout.isatty()
        tenths_shown = set()

        def show(done: int) -> None:
            seconds = time.monotonic() - started
            filled = "#" * (_BAR_WIDTH * done // total)
            line = f"[{filled:.<{_BAR_WIDTH}}] {done:,} of {total:,} runs, {seconds:.0f} s"
            if is_terminal:
                self.stdout.write(f"\r{line}", ending="\n" if done == total else "")
                self.stdout.flush()
            elif (tenth := 10 * done // total) not in tenths_shown:
                tenths_shown.add(tenth)
                self.stdout.write(line)

        return show


def _create_tenants() -> None:
    try:
        with transaction.atomic():
            for pk, name, key in DEMO_TENANTS:
                tenant, created = Tenant.objects.get_or_create(pk=pk, defaults={"name": name})
                if created:
                    audit.record(tenant, audit.changes({}, {"name": name}), flag=ADDITION)
                if not ApiKey.objects.filter(key_hash=hash_key(key)).exists():
                    row = store_key(tenant=tenant, key=key, name="demo")
                    audit.record(row, "Issued the demo key.", flag=ADDITION)
    except IntegrityError:
        raise CommandError(
            "Another tenant has the name of a demo tenant, or another process is running seed_demo."
        ) from None


def _history_size(text: str) -> int:
    number = whole_number(text)
    if not 1 <= number <= 10_000_000:
        raise argparse.ArgumentTypeError("Enter an integer from 1 to 10,000,000.")
    return number
