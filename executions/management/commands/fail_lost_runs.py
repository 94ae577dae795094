"""The command `fail_lost_runs`."""

from typing import Any

from django.core.management.base import BaseCommand

from executions.lost import fail_lost_runs
from executions.models import Execution
from map_project.api import audit


class Command(BaseCommand):
    """Marks lost runs as failed."""

    help = "Mark runs as failed whose process ended. Server processes also do this regularly."

    def handle(self, *args: Any, **options: Any) -> None:
        count = fail_lost_runs()
        if count:
            audit.record_many(Execution, f"{count} lost runs: status: running → failed")
        self.stdout.write(f"{count} lost {'run' if count == 1 else 'runs'} failed.")
