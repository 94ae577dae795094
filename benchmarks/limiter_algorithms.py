"""The algorithms that the limiter is compared with, as the commands of one check of a quota."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from limits.storage import storage_from_string
from redis import Redis

from ratelimit.limiter import SCRIPT

# The usual sliding log: a sorted set with one member for each call.
SORTED_SET = """
local limit, window = tonumber(ARGV[1]), ARGV[2] * 1000000
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - window)
local count = redis.call('ZCARD', KEYS[1])
local allowed = 0
if count < limit then
  allowed, count = 1, count + 1
  redis.call('ZADD', KEYS[1], now, now .. ':' .. count)
  redis.call('PEXPIRE', KEYS[1], window / 1000)
end
local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return { allowed, limit - count, oldest[2] + window - now }
"""

# GCRA as in go-redis/redis_rate and rwz/redis-gcra: with fractions, which Lua can return only as text.
GCRA = """
redis.replicate_commands()
local key, limit, period = KEYS[1], ARGV[1], ARGV[2]
local emission_interval = period / limit
local burst_offset = emission_interval * limit
local time = redis.call('TIME')
local now = (time[1] - 1483228800) + (time[2] / 1000000)
local tat = redis.call('GET', key)
if not tat then
  tat = now
else
  tat = tonumber(tat)
end
tat = math.max(tat, now)
local new_tat = tat + emission_interval
local diff = now - (new_tat - burst_offset)
local remaining = diff / emission_interval
if remaining < 0 then
  return { 0, 0, tostring(-diff), tostring(tat - now) }
end
local reset_after = new_tat - now
if reset_after > 0 then
  redis.call('SET', key, new_tat, 'EX', math.ceil(reset_after))
end
return { 1, remaining, tostring(-1), tostring(reset_after) }
"""

# Minimal GCRA, in whole microseconds. It has no bar.
LEAN_GCRA = """
local limit, window = tonumber(ARGV[1]), ARGV[2] * 1000000
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local tat = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local new_tat = tat + window / limit
local wait = new_tat - window - now
if wait > 0 then
  return { 0, 0, math.ceil(wait), math.ceil(tat - now), now }
end
redis.call('SET', KEYS[1], string.format('%.3f', new_tat), 'PX', math.ceil((new_tat - now) / 1000))
return { 1, math.floor(-wait * limit / window), 0, math.ceil(new_tat - now), now }
"""

Command = tuple[object, ...]


@dataclass(frozen=True)
class Algorithm:
    """An algorithm and the commands of one check."""

    name: str
    check: Callable[[str, int, int], list[Command]]  # key, quota, window in seconds


def script(redis: Redis, name: str, source: str) -> Algorithm:
    sha1 = redis.script_load(source)
    return Algorithm(name, lambda key, quota, window: [("EVALSHA", sha1, 1, key, quota, window)])


def limits_library(redis: Redis, url: str) -> Algorithm:
    """Return the scripts of `limits` with its arguments; the second reads the values of the headers."""
    storage: Any = storage_from_string(url.replace("unix://", "redis+unix://"))
    hit = redis.script_load(storage.lua_acquire_moving_window.script)
    stats = redis.script_load(storage.lua_moving_window.script)

    def check(key: str, quota: int, window: int) -> list[Command]:
        now = time.time()
        return [
            ("EVALSHA", hit, 1, key, now, quota, window, 1),
            ("EVALSHA", stats, 1, key, now - window, quota),
        ]

    return Algorithm("limits, moving window", check)


def this_limiter(redis: Redis) -> Algorithm:
    return script(redis, "this limiter", SCRIPT)
