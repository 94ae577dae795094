from django.apps import AppConfig
from django.core.signals import got_request_exception
from django.db.models.signals import pre_migrate

from map_project.postgresql.base import allow_any_time


class ApiConfig(AppConfig):
    """Code that all API apps share."""

    name = "map_project.api"

    def ready(self) -> None:
        from map_project.api import checks  # noqa: F401  registers the system checks
        from map_project.api.errors import log_unhandled_exception

        # Migrations run without the statement timeout of requests.
        pre_migrate.connect(allow_any_time, dispatch_uid="map_project.api.allow_any_time")
        got_request_exception.connect(
            log_unhandled_exception, dispatch_uid="map_project.api.log_unhandled_exception"
        )
