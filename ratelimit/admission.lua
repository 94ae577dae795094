-- Admission of a run: an idempotency key, the quota, and the slots of a tenant, decided together. A refusal
-- takes nothing.
--
-- `sliding_window.lua` precedes this text as the function `take`, with its KEYS[1], ARGV[1] and ARGV[2].
--
-- KEYS[2]  slots of the tenant: a sorted set of tokens by the time at which their leases expire, in ms
-- KEYS[3]  the token that uses the idempotency key, as a string
-- ARGV[3]  number of slots; 0: not limited
-- ARGV[4]  token of this run
-- ARGV[5]  lease of a slot and of the idempotency key in ms
-- ARGV[6]  1 if there is an idempotency key, else 0
--
-- Result: that of `take`, but the first integer is 2 if no slot is free, and 3 if another run uses the key.

local slots, key, limit = KEYS[2], KEYS[3], ARGV[1]
local maximum, token, lease_ms = tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local function refuse(reason)
  ARGV[1] = '0' -- reads without taking
  local reply = take()
  if reason == 2 and reply[2] >= tonumber(limit) then
    ARGV[1] = limit -- the quota has precedence; it is used up, so nothing is taken
    return take()
  end
  reply[1] = reason
  return reply
end

if ARGV[6] == '1' and redis.call('EXISTS', key) == 1 then
  return refuse(3)
end
if maximum > 0 then
  redis.call('ZREMRANGEBYSCORE', slots, '-inf', now_ms)
  if redis.call('ZCARD', slots) >= maximum then
    return refuse(2)
  end
end
local reply = take()
if reply[1] == 1 then
  if maximum > 0 then
    redis.call('ZADD', slots, now_ms + lease_ms, token)
    redis.call('PEXPIRE', slots, 2 * lease_ms)
  end
  if ARGV[6] == '1' then
    redis.call('SET', key, token, 'PX', lease_ms)
  end
end
return reply
