"""`serve`: the API with gunicorn, as production runs it."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from map_project.embedded.ports import await_port
from map_project.serving.server import serve


class Command(BaseCommand):
    """Serve on HOST and PORT until SIGTERM or SIGINT; nothing is migrated or seeded."""

    help = "Serve the API with gunicorn on HOST and PORT."
    requires_system_checks = ()

    def handle(self, *_args: Any, **_options: Any) -> None:
        await_port(settings.HOST, settings.PORT)
        serve()
