-- Note which letters of a replay were put back.
--
-- KEYS[1] state    hash
-- KEYS[2] pending  zset
-- KEYS[3] done     zset
-- ARGV members
-- Returns the replay's state.
local state = redis.call('HGET', KEYS[1], 'state')
if state == 'running' then
  for i = 1, #ARGV do
    redis.call('ZREM', KEYS[2], ARGV[i])
    redis.call('ZADD', KEYS[3], 0, ARGV[i])
  end
end
return state
