"""Views without a tenant: liveness, health, readiness and the OpenAPI document."""

import logging
from collections.abc import Callable
from functools import cache

from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.http import HttpRequest, HttpResponse
from django.urls import resolve
from django.views.decorators.csrf import csrf_exempt
from django_redis import get_redis_connection
from drf_spectacular.utils import extend_schema
from redis.exceptions import RedisError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from map_project.api.errors import NotFound
from map_project.api.schema import HEALTH, LIVE, READY, document

MAX_SHOWN_PATH = 200

logger = logging.getLogger("map.health")


class PublicView(APIView):
    """A view without authentication."""

    authentication_classes = ()
    http_method_names = ["get", "head"]


@extend_schema(**LIVE)
class LiveView(PublicView):
    """Liveness: does not use the database or Redis."""

    def get(self, request: Request) -> Response:
        return Response({"status": "ok"})


@extend_schema(**HEALTH)
class HealthView(PublicView):
    """Health: 200 if the database and Redis respond, else 503."""

    def get(self, request: Request) -> Response:
        database = _passes("database", _select)
        redis = _passes("redis", lambda: get_redis_connection("default").ping())
        status, body = _report({"database": database, "redis": redis})
        return Response(body, status=status)


@extend_schema(**READY)
class ReadyView(PublicView):
    """Readiness: the database responds and has every migration.

    Redis is not checked. Without it runs are rejected, but everything else works.
    """

    def get(self, request: Request) -> Response:
        status, body = readiness()
        return Response(body, status=status)


@extend_schema(exclude=True)
class SchemaView(PublicView):
    """The OpenAPI document as JSON."""

    def get(self, request: Request) -> Response:
        return Response(document())


def readiness() -> tuple[int, dict[str, object]]:
    """Return the HTTP status and the body of a readiness check, for servers and workers."""
    database = _passes("database", _select)
    migrations = database and _passes("migrations", _compare_migrations)
    return _report({"database": database, "migrations": migrations})


def _report(checks: dict[str, bool]) -> tuple[int, dict[str, object]]:
    healthy = all(checks.values())
    words = {name: "ok" if passed else "unavailable" for name, passed in checks.items()}
    status = "ok" if healthy else "unavailable"
    return 200 if healthy else 503, {"status": status, "checks": words}


def _select() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def _compare_migrations() -> None:
    applied = MigrationRecorder(connection).applied_migrations()
    if missing := _migrations().keys() - applied.keys():
        raise ImproperlyConfigured(f"{len(missing)} migrations are not applied")


@cache
def _migrations() -> dict[tuple[str, str], object]:
    """Return the migrations on disk, read once per process."""
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
    """The last URL pattern: a JSON 404 for every other URL, also with DEBUG on."""
    path = request.path.rstrip("/")
    for candidate in (path, f"/api/v1{path}", f"/v1{path}"):
        is_api = candidate.startswith(("/api/v1/", "/v1/"))
        is_suggested = is_api and len(candidate) <= MAX_SHOWN_PATH
        if is_suggested and resolve(candidate).func is not unknown_route:
            return NotFound(f"{NotFound.message} Did you mean {candidate}?").response()
    return NotFound().response()
