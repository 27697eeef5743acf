-- Remember observations of scopes, then load the policies that watch those scopes, a page at a time.
--
-- Remembering comes first: a policy that is registered meanwhile reads what is remembered after it has entered the
-- index, so one of the two sees the other.
--
-- KEYS[1..n] observed  hash  subject → fact, of one scope each
-- KEYS[n+1..] index    zset  ids of the policies that watch a scope
-- ARGV[1] n
-- ARGV[2] how long observations are remembered, ms
-- ARGV[3] prefix of the policies' keys, in the same slot
-- ARGV[4] index to begin with, from 0
-- ARGV[5] id to begin after in that index, or empty
-- ARGV[6] how many policies at most
-- ARGV[7..] for each observed key: subject, time, fact as JSON
-- Returns {index, after, id, record, id, record, ...}: where to go on; index is -1 at the end.
local n = tonumber(ARGV[1])
for i = 1, n do
  local field, at, fact = ARGV[4 + i * 3], tonumber(ARGV[5 + i * 3]), ARGV[6 + i * 3]
  local known = redis.call('HGET', KEYS[i], field)
  local known_at = -1
  if known then
    known_at = tonumber(string.match(known, '^(%d+) '))
    known = string.sub(known, string.find(known, ' ', 1, true) + 1)
  end
  if at > known_at or (at == known_at and fact > known) then
    redis.call('HSET', KEYS[i], field, ARGV[5 + i * 3] .. ' ' .. fact)
    redis.call('PEXPIRE', KEYS[i], ARGV[2])
  end
end

local position, after, room = tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])
local reply = {-1, ''}
while n + 1 + position <= #KEYS do
  local from = after == '' and '-' or '(' .. after
  local ids = redis.call('ZRANGEBYLEX', KEYS[n + 1 + position], from, '+', 'LIMIT', 0, room + 1)
  for i = 1, math.min(#ids, room) do
    reply[#reply + 1] = ids[i]
    reply[#reply + 1] = redis.call('GET', ARGV[3] .. ids[i])
  end
  if #ids > room then
    reply[1], reply[2] = position, room > 0 and ids[room] or after
    return reply
  end
  room = room - #ids
  position, after = position + 1, ''
end
return reply
