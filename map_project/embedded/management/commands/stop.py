"""The command `stop`, which `make stop` calls."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from map_project.embedded import location
from map_project.embedded.instance import stop_instance
from map_project.embedded.servers import stop_unused

# What `up` needs after the requests in progress have ended.
_MARGIN_SECONDS = 60.0


class Command(BaseCommand):
    """Requests in progress finish first. Servers that another command uses are not stopped."""

    help = "Stop the `make run` process of this checkout, including PostgreSQL and Redis."
    requires_system_checks = ()

    def handle(self, *_args: Any, **_options: Any) -> None:
        place = location(settings.BASE_DIR)
        seconds = settings.GRACEFUL_TIMEOUT_SECONDS + _MARGIN_SECONDS
        has_stopped = stop_instance(place.data_dir, seconds)
        stop_unused(place)
        self.stdout.write(
            "Stopped." if has_stopped else "`make run` is not running in this checkout."
        )
