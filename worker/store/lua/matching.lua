-- Publish the settings that decide matching in one partition. Where they are others than before, readers are told; where views
-- are to stand under the other version's keys, all of them are placed anew.
--
-- KEYS[1] settings  hash    for readers
-- KEYS[2] changes   stream
-- KEYS[3] placing   hash    which policies' views are to be placed anew: index → where that has come to
-- ARGV[1] 1: only if nothing is published yet
-- ARGV[2] index of all policies
-- ARGV[3] event
-- ARGV[4] 1: what is published says the same as where nothing is
-- ARGV[5..] field, value; the last field is `views`
-- Returns 1, or 0 if they were so already.
local there = redis.call('EXISTS', KEYS[1]) == 1
local same = there
for a = 5, #ARGV, 2 do
  same = same and redis.call('HGET', KEYS[1], ARGV[a]) == ARGV[a + 1]
end
if same or (there and ARGV[1] == '1') then
  return 0
end
local views = redis.call('HGET', KEYS[1], 'views') or '1'
redis.call('HSET', KEYS[1], unpack(ARGV, 5))
if there or ARGV[4] == '0' then
  redis.call('XADD', KEYS[2], '*', 'event', ARGV[3])
end
if views ~= ARGV[#ARGV] then
  redis.call('HSET', KEYS[3], ARGV[2], '')
end
return 1
