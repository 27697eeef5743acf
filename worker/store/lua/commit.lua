-- Commit one step of one policy: record, view, indexes, due time, history, counters and change event, or nothing.
--
-- Compare-and-set: the step is made only if the record still has the stamp that was read. So a second run, by a retry,
-- a twin or a worker that was paused, finds another stamp and changes nothing. Nothing is parsed here: records, views
-- and events are opaque texts, since Lua's cjson loses digits of 64-bit ids.
--
-- KEYS[1] record read      string  where the policy was found, or will be
-- KEYS[2] record written   string  the same, unless the policy moves to another owner's partition
-- KEYS[3] locator          string  partition of the policy
-- KEYS[4] changes          stream
-- KEYS[5] due              zset
-- KEYS[6] history          list
-- KEYS[7] counters         hash
-- KEYS[8..]                one key for each operation
-- ARGV[1] stamp that was read, empty: there was no record
-- ARGV[2] record
-- ARGV[3] policy id
-- ARGV[4] locator that was read, empty: none    ARGV[5] locator to write
-- ARGV[6] due time, µs, empty: none
-- ARGV[7] change event, empty: nothing is published
-- ARGV[8] history entry    ARGV[9] how many are kept
-- ARGV[10] type of the change    ARGV[11] state before, empty: none    ARGV[12] state after
-- ARGV[13] when the cause was received, µs, empty: not measured
-- ARGV[14..] for each operation: code, text
--   view: HSET policy id → text   unview: HDEL   add: ZADD   remove: ZREM   delete: DEL   move: RENAME to history
-- Returns 1, or 0 if the stamp or the locator was another.
local record = redis.call('GET', KEYS[1])
local stamp = record and string.match(record, '^[%d.]+') or ''
if stamp ~= ARGV[1] or (redis.call('GET', KEYS[3]) or '') ~= ARGV[4] then
  return 0
end

local policy = ARGV[3]
for i = 8, #KEYS do
  local code, text = ARGV[i * 2 - 2], ARGV[i * 2 - 1]
  if code == 'view' then
    redis.call('HSET', KEYS[i], policy, text)
  elseif code == 'unview' then
    redis.call('HDEL', KEYS[i], policy)
  elseif code == 'add' then
    redis.call('ZADD', KEYS[i], 0, policy)
  elseif code == 'remove' then
    redis.call('ZREM', KEYS[i], policy)
  elseif code == 'delete' then
    redis.call('DEL', KEYS[i])
  elseif code == 'move' and redis.call('EXISTS', KEYS[i]) == 1 then
    redis.call('RENAME', KEYS[i], KEYS[6])
  end
end

redis.call('SET', KEYS[2], ARGV[2])
if ARGV[4] ~= ARGV[5] then
  redis.call('SET', KEYS[3], ARGV[5])
end
if ARGV[6] == '' then
  redis.call('ZREM', KEYS[5], policy)
else
  redis.call('ZADD', KEYS[5], ARGV[6], policy)
end
if ARGV[7] == '' then
  return 1
end

redis.call('XADD', KEYS[4], '*', 'event', ARGV[7])
redis.call('LPUSH', KEYS[6], ARGV[8])
redis.call('LTRIM', KEYS[6], 0, tonumber(ARGV[9]) - 1)
redis.call('HINCRBY', KEYS[7], 'changes:' .. ARGV[10], 1)
if ARGV[11] ~= ARGV[12] then
  if ARGV[11] ~= '' then
    redis.call('HINCRBY', KEYS[7], 'state:' .. ARGV[11], -1)
  end
  redis.call('HINCRBY', KEYS[7], 'state:' .. ARGV[12], 1)
end
if ARGV[13] ~= '' then
  local time = redis.call('TIME')
  local took = math.max(0, time[1] * 1000000 + time[2] - tonumber(ARGV[13]))
  local bucket = 0
  while bucket < 16 and took > 1000 * 2 ^ bucket do
    bucket = bucket + 1
  end
  redis.call('HINCRBY', KEYS[7], 'latency:' .. bucket, 1)
  redis.call('HINCRBY', KEYS[7], 'latency:sum', string.format('%.0f', took))
end
return 1
