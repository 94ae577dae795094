"""The deployment check of Redis."""

from collections.abc import Iterator

import pytest
from django.conf import LazySettings
from django.core import checks
from redis import Redis

from ratelimit.checks import check_redis
from tests.own_redis import own_redis


@pytest.fixture
def redis(settings: LazySettings) -> Iterator[Redis]:
    """A Redis that no other test uses, so its configuration may change."""
    with own_redis(unix=True) as server:
        use_redis(settings, server.url)
        yield server.client


def use_redis(settings: LazySettings, url: str) -> None:
    settings.CACHES = {"default": settings.CACHES["default"] | {"LOCATION": url}}


def ids() -> list[str | None]:
    return [warning.id for warning in check_redis(None)]


def test_a_suitable_redis_passes(redis: Redis) -> None:
    assert ids() == []


def test_eviction(redis: Redis) -> None:
    redis.config_set("maxmemory-policy", "volatile-lru")
    (warning,) = check_redis(None)
    assert warning.id == "ratelimit.W001"
    assert "volatile-lru" in warning.msg


def test_a_replica(redis: Redis) -> None:
    redis.replicaof("127.0.0.1", "1")
    assert ids() == ["ratelimit.W002"]


def test_an_unreachable_redis_is_reported_without_its_address(settings: LazySettings) -> None:
    use_redis(settings, "unix:///nowhere/redis.sock")
    (warning,) = check_redis(None)
    assert warning.id == "ratelimit.W003"
    assert "nowhere" not in str(warning)


def test_it_runs_with_deploy_only() -> None:
    assert check_redis in checks.registry.registry.deployment_checks
    assert check_redis not in checks.registry.registry.registered_checks
