"""System checks for Redis settings that break the rate limit without an error: `check --deploy`."""

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
    """Warn if Redis may evict windows, and if it is a replica."""
    try:
        redis = get_redis_connection("default")
        policy = redis.info("memory")["maxmemory_policy"]
        role = redis.info("replication")["role"]
    except Exception as error:
        # Only the class: the text may contain the address, and this output goes to deployment logs.
        message = f"The configuration of Redis could not be read ({type(error).__name__})."
        return [checks.Warning(message, id=UNKNOWN)]
    warnings: list[checks.CheckMessage] = []
    if policy != "noeviction":
        message = f"Redis evicts keys (maxmemory-policy {policy}): an evicted window frees the whole quota."
        hint = "Set maxmemory-policy to noeviction. Runs are then rejected (503) when memory is exhausted."
        warnings.append(checks.Warning(message, hint=hint, id=EVICTION))
    if role != "master":
        message = f"REDIS_URL points to a {role}, which is read-only: all runs are rejected (503)."
        hint = "Point REDIS_URL to the primary."
        warnings.append(checks.Warning(message, hint=hint, id=REPLICA))
    return warnings
