-- Count the logins that some events tell of, each once and only once: whoever settles an event counts first, and what was
-- counted lately is known. Nothing is counted of a policy that nobody registered.
--
-- Whoever comes so late that this may be forgotten counts nothing, and must not settle the event: it is somebody else's by now.
--
-- KEYS[1] directory hash    policy id → its partition, for policies of which this is the directory
-- KEYS[2] counted   zset    events whose logins were counted, by when that was
-- KEYS[3] mark      string  what time it was (`_moment.lua`)
-- then for each event:
--   logins  hash  name → `<how often> <first, µs> <last, µs> <what was said of the last>`
-- ARGV[1] how long after it was claimed an event's login is counted, µs
-- ARGV[2] how long what was counted is known at least, µs; longer by what clocks of servers may differ
-- ARGV[3] how many events are known at least, however long ago they were counted
-- then for each event:
--   event
--   when it was claimed, µs
--   policy id
--   when the login was, µs
--   how long after that it counts, µs; later it may only be the first or the last
--   how many names there may be, beside the first one
--   n
--   n names, each with what is said. The first one is every login's
-- Returns for each 1, or 0 if it comes too late.
local time = moment(KEYS[3])

-- Room for one more name: that which was not heard of for the longest time goes, unless the new one is older.
local function room(key, every, name, at, most)
  if redis.call('HLEN', key) <= most then
    return true
  end
  local all, oldest, since = redis.call('HGETALL', key), nil, nil
  for i = 1, #all, 2 do
    local last = tonumber(string.match(all[i + 1], '^%d+ %d+ (%d+) ') or '0')
    if all[i] ~= every and (not since or last < since or (last == since and all[i] < oldest)) then
      oldest, since = all[i], last
    end
  end
  if at < since or (at == since and name < oldest) then
    return false
  end
  redis.call('HDEL', key, oldest)
  return true
end

local function count(key, every, name, said, at, within, most)
  local found = redis.pcall('HGET', key, name)
  if type(found) == 'table' then
    -- Somebody else wrote this key.
    return
  end
  local times, first, last, known = string.match(found or '', '^(%d+) (%d+) (%d+) (.*)$')
  if not times then
    if name ~= every and not room(key, every, name, at, most) then
      return
    end
    times, first, last, known = 0, at, at, said
  end
  first, last = math.min(tonumber(first), at), tonumber(last)
  if at > last or (at == last and said > known) then
    last, known = at, said
  end
  times = tonumber(times) + (time - at <= within and 1 or 0)
  redis.call('HSET', key, name, string.format('%.0f %.0f %.0f ', times, first, last) .. known)
end

local replies = {}
local k, a = 4, 4
while a <= #ARGV do
  local event, names = ARGV[a], tonumber(ARGV[a + 6])
  if time - tonumber(ARGV[a + 1]) > tonumber(ARGV[1]) then
    replies[#replies + 1] = 0
  else
    replies[#replies + 1] = 1
    local anew = redis.call('ZADD', KEYS[2], 'NX', string.format('%.0f', time), event) == 1
    if anew and redis.call('HEXISTS', KEYS[1], ARGV[a + 2]) == 1 then
      local at, within, most = tonumber(ARGV[a + 3]), tonumber(ARGV[a + 4]), tonumber(ARGV[a + 5])
      for i = a + 7, a + 5 + names * 2, 2 do
        count(KEYS[k], ARGV[a + 7], ARGV[i], ARGV[i + 1], at, within, most)
      end
    end
  end
  k, a = k + 1, a + 7 + names * 2
end

local surplus = redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[3])
if surplus > 0 then
  local border = redis.call('ZRANGE', KEYS[2], surplus - 1, surplus - 1, 'WITHSCORES')[2]
  border = math.min(tonumber(border), time - tonumber(ARGV[2]))
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', border))
end
return replies
