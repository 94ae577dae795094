-- Exact sliding window: at most `limit` calls are admitted in any `window` seconds.
--
-- KEYS[1]  log of one tenant and one window
-- ARGV[1]  limit: the number of calls admitted in a window; 0 admits none, and writes nothing
-- ARGV[2]  window in seconds, 1 to 2100
--
-- Result: five integers, all times in microseconds
--   1 if this call is admitted, else 0
--   units in use in the window that ends now, including the unit of this call
--   time until a call can be admitted: 0 if this one is; if limit is 0, until all units are free
--   time until the oldest unit is free; 0 if none is in use
--   clock of this server
--
-- Layout: a header of 28 bytes, then a ring of units. The header contains the index of the oldest
-- unit in the ring, the number of units in use, the capacity of the ring, and the times of the
-- oldest and of the newest unit. A unit is the time of one admitted call modulo 2^32 us, in 4
-- bytes. This is unambiguous: the oldest unit was less than a window old when the newest was taken,
-- and the newest is less than a window old now (otherwise all are free), so an age is less than two
-- windows, 4200 s, and 2^32 us is 4294 s.
--
-- Optimizations: `call` is local, constant arguments are strings, a denial creates no closure.

local HEADER, UNIT, WRAP, call = '<I4I4I4dd', '<I4', 2 ^ 32, redis.call
local key, limit, window = KEYS[1], tonumber(ARGV[1]), ARGV[2] * 1000000

local time = call('TIME')
local clock = time[1] * 1000000 + time[2]
local now, head, count, room, oldest, newest = clock, 0, 0, 0, clock, clock

local header = call('GETRANGE', key, '0', '27')
if header ~= '' then
  head, count, room, oldest, newest = struct.unpack(HEADER, header)
  if clock < newest then
    now = newest -- the clock stepped back: this must not free units early
  elseif clock - newest >= window then
    head, count, room, oldest = 0, 0, 0, clock
  end
end

-- Units that are a window old are free. The newest is not free: find the oldest that is not free
-- either, with strides that double, then by bisection.
if now - oldest >= window then
  oldest = newest
  local function is_free(index)
    local first = 28 + 4 * ((head + index) % room)
    local taken = struct.unpack(UNIT, call('GETRANGE', key, first, first + 3))
    local age = (now - taken) % WRAP
    if age >= window then
      return true
    end
    oldest = now - age -- of those read so far; at the end, of all
    return false
  end
  local low, high = 1, 1
  while high < count - 1 and is_free(high) do
    low, high = high + 1, math.min(2 * high + 1, count - 1)
  end
  while low < high do
    local middle = math.floor((low + high) / 2)
    if is_free(middle) then
      low = middle + 1
    else
      high = middle
    end
  end
  head, count = (head + low) % room, count - low
end

local lifetime_ms = window / 1000 + 1000 -- of the key: after it all units are free

if count >= limit then
  if count == 0 then
    return { 0, 0, 0, 0, clock }
  end
  local blocking = oldest
  if count > limit then -- the limit was lowered: more than one unit must become free
    local first = 28 + 4 * ((head + count - math.max(limit, 1)) % room)
    local taken = struct.unpack(UNIT, call('GETRANGE', key, first, first + 3))
    blocking = now - (now - taken) % WRAP
  end
  if clock < now and call('PTTL', key) > lifetime_ms then
    call('PEXPIRE', key, lifetime_ms) -- a clock that stepped back denies calls for one window at most
  end
  return { 0, count, blocking + window - clock, oldest + window - clock, clock }
end

if count == room then -- the ring is full or does not exist: write it again with more capacity
  local units = ''
  if count > 0 then
    local first = 28 + 4 * head
    units = call('GETRANGE', key, first, '-1') .. call('GETRANGE', key, '28', first - 1)
  end
  head, room = 0, math.min(limit, math.max(2 * count, 128))
  call('SET', key, string.rep('\0', 28) .. units .. string.rep('\0', 4 * (room - count)))
end
call('SETRANGE', key, 28 + 4 * ((head + count) % room), struct.pack(UNIT, now % WRAP))
call('SETRANGE', key, '0', struct.pack(HEADER, head, count + 1, room, oldest, now))
call('PEXPIRE', key, lifetime_ms)
return { 1, count + 1, 0, oldest + window - clock, clock }
