-- A policy has arrived where it went: what says so here goes, and what was left of it.
--
-- KEYS[1] record   string
-- KEYS[2] due      zset
-- KEYS[3] history  list
-- ARGV[1] policy id
-- ARGV[2] what stands in place of the record (`leave.lua`): anything else is another policy, or another time
-- Returns 1, or 0 if it was gone.
if redis.call('MGET', KEYS[1])[1] ~= ARGV[2] then
  return 0
end
redis.call('DEL', KEYS[1], KEYS[3])
redis.call('ZREM', KEYS[2], ARGV[1])
return 1
