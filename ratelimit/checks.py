"""What of Redis' configuration would break the limiter's promise without any error: `check --deploy`."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core import checks
from django_redis import get_redis_connection

EVICTION = "ratelimit.W001"
REPLICA = "ratelimit.W002"
UNKNOWN = "ratelimit.W003"


@checks.register(checks.Tags.caches, deploy=True)
def check_redis(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[checks.CheckMessage]:
    """Warn of an eviction policy under which windows may vanish, and of a replica."""
    try:
        redis = get_redis_connection("default")
        policy = redis.info("memory")["maxmemory_policy"]
        role = redis.info("replication")["role"]
    except Exception as error:
        # The class alone: the text may hold the address, and this is printed by a deployment.
        reason = type(error).__name__
        return [
            checks.Warning(
                f"Redis could not be asked for its configuration ({reason}).", id=UNKNOWN
            )
        ]
    return [*_eviction(policy), *_replica(role)]


def _eviction(policy: str) -> list[checks.CheckMessage]:
    if policy == "noeviction":
        return []
    message = f"Redis evicts keys (maxmemory-policy {policy}): an evicted window is a new quota."
    hint = "Set maxmemory-policy to noeviction; calls are refused (503) when memory runs out."
    return [checks.Warning(message, hint=hint, id=EVICTION)]


def _replica(role: str) -> list[checks.CheckMessage]:
    if role == "master":
        return []
    message = (
        f"REDIS_URL leads to a {role}, which takes no writes: every run call is refused (503)."
    )
    return [checks.Warning(message, hint="Let REDIS_URL lead to the primary.", id=REPLICA)]
