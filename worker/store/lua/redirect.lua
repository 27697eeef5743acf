-- Note in the directory to which partition a policy has moved, unless it has moved on since.
--
-- KEYS[1] directory  hash  policy id → partition; of one that has moved `<partition>@<the stamp with which it did>`
-- ARGV[1] policy id
-- ARGV[2] partition
-- ARGV[3] stamp
-- Returns 1, or 0 if it has moved on.
local since = string.match(redis.call('HGET', KEYS[1], ARGV[1]) or '', '@([%d.]+)$')
if since and not later(ARGV[3], since) then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. '@' .. ARGV[3])
return 1
