"""`manage.py fail_lost_runs`"""

from typing import Any

from django.core.management.base import BaseCommand

from executions.lost import fail_lost_runs


class Command(BaseCommand):
    """Closes the runs whose process is gone."""

    help = "Fail the runs that should be over and say that they go on; servers do it by themselves."

    def handle(self, *args: Any, **options: Any) -> None:
        count = fail_lost_runs()
        self.stdout.write(f"{count} lost {'run' if count == 1 else 'runs'} failed.")
