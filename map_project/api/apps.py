from django.apps import AppConfig
from django.db.models.signals import pre_migrate


class ApiConfig(AppConfig):
    """What every API app shares; the one place where migrations are given the time they need."""

    name = "map_project.api"

    def ready(self) -> None:
        pre_migrate.connect(_allow_any_time, dispatch_uid="map_project.api.allow_any_time")


def _allow_any_time(**_: object) -> None:
    from map_project.postgresql.base import allow_any_time

    allow_any_time()
