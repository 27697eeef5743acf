-- Remember observations of scopes, then load the policies that watch those scopes, a page at a time: for several pieces
-- of work of one partition.
--
-- Remembering comes first: a policy that is registered meanwhile reads what is remembered after it has entered the
-- index, so one of the two sees the other.
--
-- KEYS for each piece of work:
--   n observed  hash  subject → fact, of one scope each
--   m index     zset  ids of the policies that watch a scope
-- ARGV[1] how long observations are remembered, ms
-- ARGV[2] prefix of the policies' keys, in the same slot
-- ARGV[3] how many policies at most for each piece of work
-- then for each piece of work:
--   n, m, index to begin with, from 0, id to begin after in that index, or empty
--   for each observed key: subject, time, fact as JSON
-- Returns for each {index, after, id, record, id, record, ...}: where to go on; index is -1 at the end.
local function remember(key, field, stamp, fact)
  local known = redis.call('HGET', key, field)
  if known then
    local at, space = tonumber(stamp), string.find(known, ' ', 1, true)
    local known_at = tonumber(string.sub(known, 1, space - 1))
    if at < known_at or (at == known_at and fact <= string.sub(known, space + 1)) then
      return
    end
  end
  if not known and string.find(field, ' @', 1, true) and redis.call('HLEN', key) >= 1000 then
    -- A series of which somebody tells again and again, and which nobody registers. What blocks is no series.
    return
  end
  redis.call('HSET', key, field, stamp .. ' ' .. fact)
  redis.call('PEXPIRE', key, ARGV[1])
end

local function load(indexes, position, after)
  local reply, room = {-1, ''}, tonumber(ARGV[3])
  while position < #indexes do
    local from = after == '' and '-' or '(' .. after
    local ids = redis.call('ZRANGEBYLEX', indexes[position + 1], from, '+', 'LIMIT', 0, room + 1)
    for i = 1, math.min(#ids, room) do
      reply[#reply + 1] = ids[i]
      reply[#reply + 1] = redis.call('GET', ARGV[2] .. ids[i])
    end
    if #ids > room then
      reply[1], reply[2] = position, room > 0 and ids[room] or after
      return reply
    end
    room = room - #ids
    position, after = position + 1, ''
  end
  return reply
end

local replies, k, a = {}, 1, 4
while a <= #ARGV do
  local n, m, position, after = tonumber(ARGV[a]), tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2]), ARGV[a + 3]
  a = a + 4
  for i = 0, n - 1 do
    remember(KEYS[k + i], ARGV[a], ARGV[a + 1], ARGV[a + 2])
    a = a + 3
  end
  local indexes = {}
  for i = 1, m do
    indexes[i] = KEYS[k + n + i - 1]
  end
  replies[#replies + 1] = load(indexes, position, after)
  k = k + n + m
end
return replies
