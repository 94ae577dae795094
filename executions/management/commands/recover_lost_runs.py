"""The command `recover_lost_runs`."""

from typing import Any

from django.core.management.base import BaseCommand

from executions.jobs.recovery import recover_lost_runs
from executions.models import Execution
from map_project.api import audit


class Command(BaseCommand):
    """Queues or ends the runs of processes that ended."""

    help = "Queue or end the runs whose process ended. Servers and workers do this automatically."

    def handle(self, *args: Any, **options: Any) -> None:
        count = recover_lost_runs()
        if count:
            audit.record_many(Execution, f"{count} lost runs: status: running → queued or failed")
        self.stdout.write(f"{count} lost {'run' if count == 1 else 'runs'} recovered.")
