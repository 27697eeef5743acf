-- A large event has got as far as its cursor: the rest waits in the large events' lane.
--
-- KEYS[1] event    hash
-- KEYS[2] waiting  zset    the lane it was in
-- KEYS[3] large    zset    the large events' lane
-- KEYS[4] rung     string  the large events' wake-up
-- KEYS[5] mark     string  what time it was (`_moment.lua`)
-- ARGV[1] id
-- ARGV[2] large events' lane
-- ARGV[3] cursor
-- ARGV[4] how long a wake-up counts as under way, ms
-- ARGV[5] number of the attempt: whoever comes with another, or twice, has lost the event to somebody else
-- ARGV[6] what went wrong with some of its policies, empty: nothing
-- Returns 1 if the caller should wake a worker for the large events' lane.
if redis.call('HGET', KEYS[1], 'attempts') ~= ARGV[5] or redis.call('HEXISTS', KEYS[1], 'held_by') == 0 then
  return 0
end
redis.call('HDEL', KEYS[1], 'held_by', 'deaths', 'late')
redis.call('HSET', KEYS[1], 'lane', ARGV[2], 'cursor', ARGV[3])
if ARGV[6] ~= '' then
  redis.call('HSET', KEYS[1], 'partial', ARGV[6])
end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZADD', KEYS[3], string.format('%.0f', moment(KEYS[5])), ARGV[1])
return redis.call('SET', KEYS[4], '1', 'NX', 'PX', ARGV[4]) and 1 or 0
