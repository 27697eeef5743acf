-- What became of an event; and if it still waits, whoever settles it or gives it up says so on a channel.
--
-- KEYS[1] event    hash
-- KEYS[2] dead     zset
-- KEYS[3] newer, KEYS[4] older  its shelf in the ledger (`_enter.lua`)
-- KEYS[5] mark     string  `s` if it was settled and the ledger does not keep it
-- KEYS[6] settled  string  exists if it was settled and has no mark
-- ARGV[1] id
-- ARGV[2] its field in the ledger
-- ARGV[3] channel
-- Returns {'waits'}; {'dead letter', what came of it so far, and how many beside that, error, message}, {'entry', what the
-- ledger has, in parts, ...}, {'settled'}, or {'gone'} if nobody knows it.
local name, came, more, problem, message = unpack(redis.call('HMGET', KEYS[1], 'name', 'came', 'more', 'error', 'message'))
if name and redis.call('ZSCORE', KEYS[2], ARGV[1]) then
  return {'dead letter', came or '', more or '', problem or '', message or ''}
end
if name then
  redis.call('HSET', KEYS[1], 'awaited', ARGV[3])
  return {'waits'}
end
for shelf = 3, 4 do
  local part = redis.call('HGET', KEYS[shelf], ARGV[2])
  if part and string.byte(part) % 4 > 0 then
    local reply = {'entry'}
    while part do
      reply[#reply + 1] = part
      part = redis.call('HGET', KEYS[shelf], ARGV[2] .. string.char(#reply - 1))
    end
    return reply
  end
end
local mark = redis.call('GET', KEYS[5])
if (mark and string.sub(mark, 1, 1) == 's') or redis.call('EXISTS', KEYS[6]) == 1 then
  return {'settled'}
end
return {'gone'}
