-- Put one event into the inbox: stored once, dated once.
--
-- KEYS[1] event    hash    the event
-- KEYS[2] waiting  zset    the lane's unsettled events, by when they may be claimed
-- KEYS[3] settled  string  exists if the event was settled already
-- KEYS[4] dead     zset    dead letters
-- KEYS[5] stamp    string  the last time given to an event of this partition
-- KEYS[6] rung     string  exists while a wake-up for the lane is under way
-- KEYS[7] counters hash
-- KEYS[8] mark     string  not for a webhook: `w` while the event waits or `s` once it was settled, then the digest of what
--                  it says; wherever an event of this id would wait
-- KEYS[9] replay   hash    if ARGV[6] is `replay`: its state; nothing is done unless that is `running`
--         refused  string  if ARGV[6] is `batch`: exists if the batch that the event is in is refused
-- ARGV[1] event id
-- ARGV[2] lane
-- ARGV[3] name, for the counters
-- ARGV[4] how long a wake-up counts as under way, ms
-- ARGV[5] digest of what it says; empty: its id is a digest of that already
-- ARGV[6] what it depends on: replay, batch, or nothing
-- ARGV[7..] field, value, ...  of the event; none: only take again what is here, as a replay does
-- Returns {status, ring}: status is queued, duplicate, conflict if an event of this id says something else, or gone for
-- what is not here; ring is 1 if the caller should wake a worker.
if ARGV[6] == 'replay' and redis.call('HGET', KEYS[9], 'state') ~= 'running' then
  return {'gone', 0}
end
if ARGV[6] == 'batch' and redis.call('EXISTS', KEYS[9]) == 1 then
  return {'gone', 0}
end
if ARGV[5] ~= '' then
  local mark = redis.call('GET', KEYS[8])
  if mark and string.sub(mark, 2) ~= ARGV[5] then
    return {'conflict', 0}
  end
  if mark and string.sub(mark, 1, 1) == 's' then
    redis.call('HINCRBY', KEYS[7], 'duplicates', 1)
    return {'duplicate', 0}
  end
end
if redis.call('EXISTS', KEYS[3]) == 1 then
  redis.call('HINCRBY', KEYS[7], 'duplicates', 1)
  return {'duplicate', 0}
end

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

-- A time later than every one given before, also if the server's clock was set back.
local function stamped()
  local last = tonumber(redis.call('GET', KEYS[5]) or '0')
  local at = string.format('%.0f', math.max(now, last + 1))
  redis.call('SET', KEYS[5], at)
  return at
end

-- In the order of these times, unless they are far ahead of a clock that was set back.
local function wait(at)
  local due = tonumber(at) - now < 1000000 and at or string.format('%.0f', now)
  redis.call('ZADD', KEYS[2], due, ARGV[1])
end

if redis.call('EXISTS', KEYS[1]) == 1 then
  -- Never settled, so it is taken again, with its first date. An event that a worker holds is left to it.
  local lane = redis.call('HGET', KEYS[1], 'lane')
  if redis.call('ZREM', KEYS[4], ARGV[1]) == 1 then
    redis.call('HDEL', KEYS[1], 'held_by', 'deaths', 'late')
    redis.call('HSET', KEYS[1], 'lane', ARGV[2], 'forgiven', redis.call('HGET', KEYS[1], 'failures') or '0')
    wait(stamped())
  elseif lane == ARGV[2] and redis.call('HEXISTS', KEYS[1], 'held_by') == 0 then
    redis.call('ZADD', KEYS[2], string.format('%.0f', now), ARGV[1])
  end
elseif #ARGV < 7 then
  return {'gone', 0}
else
  local received = stamped()
  redis.call('HSET', KEYS[1], 'lane', ARGV[2], 'received_at', received, unpack(ARGV, 7))
  if ARGV[5] ~= '' then
    redis.call('SET', KEYS[8], 'w' .. ARGV[5])
  end
  wait(received)
  redis.call('HINCRBY', KEYS[7], 'received:' .. ARGV[3], 1)
end

if redis.call('SET', KEYS[6], '1', 'NX', 'PX', ARGV[4]) then
  return {'queued', 1}
end
return {'queued', 0}
