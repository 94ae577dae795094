"""The command `fail_lost_runs`."""

from typing import Any

from django.core.management.base import BaseCommand

from executions.lost import fail_lost_runs
from executions.models import Execution
from map_project.api import audit


class Command(BaseCommand):
    """Marks lost runs as failed."""

    help = "Mark runs whose process died as failed. Servers do this automatically."

    def handle(self, *args: Any, **options: Any) -> None:
        count = fail_lost_runs()
        if count:
            audit.record_many(Execution, f"{count} lost runs: status: running → failed")
        self.stdout.write(f"{count} lost {'run' if count == 1 else 'runs'} failed.")
