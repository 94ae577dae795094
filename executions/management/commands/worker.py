"""The command `worker`."""

from typing import Any

from django.core.management.base import BaseCommand


class Command(BaseCommand):
    """A worker process. Any number of them can run, on any machine."""

    help = (
        "Run background runs until SIGTERM, WORKER_CONCURRENCY at the same time. Then wait up to "
        "GRACEFUL_TIMEOUT_SECONDS for the runs in progress, and hand back the others."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        from executions.jobs.worker import run_worker

        self.stdout.write("The worker has started.")
        self.stdout.flush()
        run_worker()
