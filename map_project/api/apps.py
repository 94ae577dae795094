from django.apps import AppConfig
from django.conf import settings
from django.core.cache import close_caches
from django.core.signals import got_request_exception, request_finished, request_started
from django.db import reset_queries
from django.db.models.signals import pre_migrate


class ApiConfig(AppConfig):
    """What every API app shares; the one place where migrations are given the time they need."""

    name = "map_project.api"

    def ready(self) -> None:
        from map_project.api import checks  # noqa: F401  registers itself
        from map_project.api.errors import log_unhandled_exception

        pre_migrate.connect(_allow_any_time, dispatch_uid="map_project.api.allow_any_time")
        # Our one cache has nothing to close after a request, and no statements are collected to be
        # forgotten before one.
        request_finished.disconnect(close_caches)
        if not settings.DEBUG:
            request_started.disconnect(reset_queries)
        got_request_exception.connect(
            log_unhandled_exception, dispatch_uid="map_project.api.log_unhandled_exception"
        )


def _allow_any_time(**_: object) -> None:
    from map_project.postgresql.base import allow_any_time

    allow_any_time()
