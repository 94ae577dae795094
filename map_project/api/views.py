"""Views that belong to no tenant: whether the service lives, is healthy, is ready."""

import logging
from collections.abc import Callable
from functools import cache

from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django_redis import get_redis_connection
from drf_spectacular.utils import extend_schema
from redis.exceptions import RedisError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from map_project.api.errors import not_found
from map_project.api.schema import HEALTH, LIVE, READY

logger = logging.getLogger("map.health")


class PublicView(APIView):
    """Open to everybody; a key, if one is sent, is not looked at."""

    authentication_classes = ()
    http_method_names = ["get", "head"]


@extend_schema(**LIVE)
class LiveView(PublicView):
    """Whether the process answers; touches nothing else."""

    def get(self, request: Request) -> Response:
        return Response({"status": "ok"})


@extend_schema(**HEALTH)
class HealthView(PublicView):
    """Whether the database and Redis answer: 200 when both do, else 503."""

    def get(self, request: Request) -> Response:
        return _report({"database": database_answers(), "redis": redis_answers()})


@extend_schema(**READY)
class ReadyView(PublicView):
    """Whether traffic may be sent here: the database answers and has every migration.

    Redis is left out: without it runs are refused, but everything else still works.
    """

    def get(self, request: Request) -> Response:
        database = database_answers()
        return _report({"database": database, "migrations": database and migrations_applied()})


def _report(checks: dict[str, bool]) -> Response:
    healthy = all(checks.values())
    words = {name: "ok" if passed else "unavailable" for name, passed in checks.items()}
    return Response(
        {"status": "ok" if healthy else "unavailable", "checks": words},
        status=200 if healthy else 503,
    )


def database_answers() -> bool:
    """Whether a statement comes back."""

    def select() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")

    return _passes("database", select)


def redis_answers() -> bool:
    """Whether a PING comes back."""
    return _passes("redis", lambda: get_redis_connection("default").ping())


def migrations_applied() -> bool:
    """Whether the database has every migration of this release."""

    def compare() -> None:
        applied = MigrationRecorder(connection).applied_migrations()
        if missing := _migrations().keys() - applied.keys():
            raise ImproperlyConfigured(f"{len(missing)} migrations are not applied")

    return _passes("migrations", compare)


@cache
def _migrations() -> dict[tuple[str, str], object]:
    """The migrations on disk; a release does not change while it runs."""
    return dict(MigrationLoader(None, ignore_no_migrations=True).disk_migrations)


def _passes(name: str, check: Callable[[], object]) -> bool:
    try:
        check()
    except (DatabaseError, RedisError, ImproperlyConfigured) as error:
        logger.warning("%s check failed: %s", name, type(error).__name__)
        return False
    return True


@csrf_exempt
def unknown_route(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
    """The last route: JSON for every address that is none, with DEBUG on as well."""
    return not_found().response()
