"""The number of open streams of all processes: each writes its own to Redis every few seconds."""

from django_redis import get_redis_connection
from redis import RedisError

from executions.events.stream import open_count
from executions.jobs import leases
from ratelimit.limiter import LimiterUnavailable

# A hash: for each process its number of streams, and when it was written, in seconds.
KEY = "metrics:1:streams"
# The number of a process that has ended is left out after this time.
_VALID_SECONDS = 15


def store_open_streams() -> None:
    """Write the number of this process, and delete those of ended ones. Raises LimiterUnavailable."""
    redis = get_redis_connection("default")
    try:
        seconds, _ = redis.time()
        redis.hset(KEY, leases.owner(), f"{open_count()} {seconds}")
        if expired := [name for name, age, _ in _entries() if age > _VALID_SECONDS]:
            redis.hdel(KEY, *expired)
    except RedisError as error:
        raise LimiterUnavailable(type(error).__name__) from error


def open_streams() -> int:
    """Return the number of all processes. Raises LimiterUnavailable."""
    try:
        return sum(count for _, age, count in _entries() if age <= _VALID_SECONDS)
    except RedisError as error:
        raise LimiterUnavailable(type(error).__name__) from error


def _entries() -> list[tuple[bytes, int, int]]:
    """Return for each process its name, the age of its number in seconds, and the number."""
    redis = get_redis_connection("default")
    now, _ = redis.time()
    values = ((name, *map(int, text.split())) for name, text in redis.hgetall(KEY).items())
    return [(name, now - seconds, count) for name, count, seconds in values]
