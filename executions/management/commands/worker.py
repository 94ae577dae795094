"""The command `worker`."""

import os
from threading import Thread
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from map_project.embedded.parent import terminate_after_stdin


class Command(BaseCommand):
    """A worker process. Any number of them can run, on any machine."""

    help = (
        "Run background runs until SIGTERM, WORKER_CONCURRENCY at the same time. Then wait up to "
        "GRACEFUL_TIMEOUT_SECONDS for the runs in progress, and hand back the others."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--stop-with-stdin",
            action="store_true",
            help="also stop when standard input ends",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        # Imports procrastinate's worker.
        from executions.jobs.worker import run_worker

        if options["stop_with_stdin"]:
            process_id = os.getpid()
            Thread(target=terminate_after_stdin, args=[process_id], daemon=True).start()
        self.stdout.write("The worker has started.")
        self.stdout.flush()
        try:
            run_worker()
        except OSError as error:
            address = f"{settings.HOST}:{settings.WORKER_PORT}"
            raise CommandError(
                f"The worker cannot listen on {address} (HOST, WORKER_PORT): {error.strerror}."
            ) from None
