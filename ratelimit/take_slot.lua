-- Takes a slot without a unit of the quota, for a background run: its unit was taken when it was queued.
--
-- KEYS[1]  slots of the tenant, as in admission.lua
-- ARGV[1]  number of slots
-- ARGV[2]  token
-- ARGV[3]  lease in ms
--
-- Result: 1 if a slot was free, else 0.

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_ms)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[1]) then
  return 0
end
redis.call('ZADD', KEYS[1], now_ms + ARGV[3], ARGV[2])
redis.call('PEXPIRE', KEYS[1], 2 * ARGV[3])
return 1
