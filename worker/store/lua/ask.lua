-- Ask for checks of GitHub owners of one partition. Whatever is asked for while a check is under way, or before the next
-- may begin, waits together and costs one check.
--
-- KEYS[1] checks  zset  owners by when they may be checked, µs
-- then for each owner:
--   wanted  hash  scope → when it was last asked for, µs
--   owner   hash  of which the field `next` is read: no check before that
-- ARGV[1] now, µs
-- then for each owner: id, not before, n, n scopes
-- Returns how many owners wait now that did not before.
local new, k, a = 0, 2, 2
while a <= #ARGV do
  local owner, earliest, n = ARGV[a], tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2])
  for i = 1, n do
    redis.call('HSET', KEYS[k], ARGV[a + 2 + i], ARGV[1])
  end
  local due = math.max(tonumber(ARGV[1]), earliest, tonumber(redis.call('HGET', KEYS[k + 1], 'next') or 0))
  new = new + redis.call('ZADD', KEYS[1], 'LT', string.format('%.0f', due), owner)
  k, a = k + 2, a + 3 + n
end
return new
