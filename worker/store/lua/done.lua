-- Say what came of a check. What was asked for again meanwhile stays wanted.
--
-- KEYS[1] checks    zset  owners by when they may be checked, µs
-- KEYS[2] checking  zset  owners that are being checked
-- KEYS[3] wanted    hash  scope → when it was last asked for, µs
-- KEYS[4] owner     hash  next, failures, slow
-- ARGV[1] owner
-- ARGV[2] no check before, µs
-- ARGV[3] 1 if it failed: all of it is wanted still
-- ARGV[4] 1 if it took long
-- then scope and when it was asked for, of everything that was answered
-- Returns how many scopes are wanted still.
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HSET', KEYS[4], 'next', ARGV[2])
for i = 5, #ARGV, 2 do
  if redis.call('HGET', KEYS[3], ARGV[i]) == ARGV[i + 1] then
    redis.call('HDEL', KEYS[3], ARGV[i])
  end
end
if ARGV[3] == '1' then
  redis.call('HINCRBY', KEYS[4], 'failures', 1)
else
  redis.call('HDEL', KEYS[4], 'failures')
end
if ARGV[4] == '1' then
  redis.call('HSET', KEYS[4], 'slow', '1')
else
  redis.call('HDEL', KEYS[4], 'slow')
end
local left = redis.call('HLEN', KEYS[3])
if left > 0 then
  redis.call('ZADD', KEYS[1], 'GT', ARGV[2], ARGV[1])
end
redis.call('PEXPIRE', KEYS[4], 30 * 24 * 3600 * 1000)
return left
