-- An event could not be settled this time: it waits for another attempt, from its beginning, or becomes a dead letter.
--
-- KEYS[1] event     hash
-- KEYS[2] waiting   zset  the lane
-- KEYS[3] dead      zset
-- KEYS[4] counters  hash
-- KEYS[5] audit     stream  gets an entry for an operator's act that is given up on
-- KEYS[6] mark      string  what time it was (`_moment.lua`)
-- ARGV[1] id
-- ARGV[2] until the next attempt, µs; empty: given up on
-- ARGV[3] name of the error
-- ARGV[4] message
-- ARGV[5] record of this attempt, JSON
-- ARGV[6] number of the attempt: whoever comes with another, or twice, has lost the event to somebody else
if redis.call('HGET', KEYS[1], 'attempts') ~= ARGV[6] or redis.call('HEXISTS', KEYS[1], 'held_by') == 0 then
  return 0
end
local now = moment(KEYS[6])
redis.call('HDEL', KEYS[1], 'held_by', 'deaths', 'late', 'cursor', 'partial')
local failures = redis.call('HINCRBY', KEYS[1], 'failures', 1)
redis.call('HSET', KEYS[1], 'error', ARGV[3], 'message', ARGV[4], 'failure:' .. failures, ARGV[5])
if ARGV[2] == '' then
  redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('ZADD', KEYS[3], string.format('%.0f', now), ARGV[1])
  redis.call('HINCRBY', KEYS[4], 'dead:' .. ARGV[3], 1)
  local act, awaited = unpack(redis.call('HMGET', KEYS[1], 'act', 'awaited'))
  if awaited then
    redis.call('PUBLISH', awaited, ARGV[1])
  end
  if act then
    redis.call('XADD', KEYS[5], '*', 'act', act, 'outcome', 'failed: ' .. ARGV[3] .. ': ' .. ARGV[4])
  end
else
  redis.call('ZADD', KEYS[2], string.format('%.0f', now + tonumber(ARGV[2])), ARGV[1])
  redis.call('HINCRBY', KEYS[4], 'retried', 1)
end
return 1
