-- Ask for checks of GitHub owners of one partition. Whatever is asked for while a check is under way, or before the next
-- may begin, waits together and costs one check.
--
-- KEYS[1] checks  zset  owners by when they may be checked, µs
-- then for each owner:
--   wanted  hash  scope → when it was last asked for, µs
--   owner   hash  of which the field `next` is read: no check before that
-- ARGV[1] now, µs
-- ARGV[2] how many scopes of an owner are wanted at most: if there are more, all of the owner is wanted instead
-- then for each owner: id, its own scope, not before, n, n scopes
-- Returns how many owners wait now that did not before.
local new, k, a = 0, 2, 3
while a <= #ARGV do
  local owner, whole, earliest, n = ARGV[a], ARGV[a + 1], tonumber(ARGV[a + 2]), tonumber(ARGV[a + 3])
  for i = 1, n do
    redis.call('HSET', KEYS[k], ARGV[a + 3 + i], ARGV[1])
  end
  if redis.call('HLEN', KEYS[k]) > tonumber(ARGV[2]) then
    redis.call('DEL', KEYS[k])
    redis.call('HSET', KEYS[k], whole, ARGV[1])
  end
  local due = math.max(tonumber(ARGV[1]), earliest, tonumber(redis.call('HGET', KEYS[k + 1], 'next') or 0))
  new = new + redis.call('ZADD', KEYS[1], 'LT', string.format('%.0f', due), owner)
  k, a = k + 2, a + 4 + n
end
return new
