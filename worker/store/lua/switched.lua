-- Every partition follows what was intended: nothing of it is unfinished, and of a switch that was opened nothing is kept.
--
-- KEYS[1] intended   hash  scope → intent (`intend.lua`)
-- KEYS[2] unfinished zset
-- ARGV for each switch: scope, the intent that every partition was seen to follow
-- Returns how many are finished. One that was intended otherwise meanwhile is not.
local finished = 0
for a = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[a]) == ARGV[a + 1] then
    redis.call('ZREM', KEYS[2], ARGV[a])
    if string.sub(ARGV[a + 1], 1, 6) == 'opened' then
      redis.call('HDEL', KEYS[1], ARGV[a])
    end
    finished = finished + 1
  end
end
return finished
