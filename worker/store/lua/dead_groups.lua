-- Some of the dead letters of one partition, in the order in which they were given up on, counted by kind, event and error.
--
-- KEYS[1] dead  zset
-- ARGV[1] prefix of the events' keys, in the same slot
-- ARGV[2] from which place, ARGV[3] to which, both inclusive, from 0
-- Returns {{kind, event, error, how many, when the first was given up on, when the last was, the last one's message}, ...}
local letters = redis.call('ZRANGE', KEYS[1], ARGV[2], ARGV[3], 'WITHSCORES')
local groups, last, reply = {}, {}, {}
for i = 1, #letters, 2 do
  local kind, name, error = unpack(redis.call('HMGET', ARGV[1] .. letters[i], 'kind', 'name', 'error'))
  kind, name, error = kind or '', name or '', error or ''
  -- Lengths keep apart what separators would not: a name may hold any character.
  local key = #kind .. ':' .. #name .. ':' .. kind .. name .. error
  local group = groups[key]
  if not group then
    group = {kind, name, error, 0, letters[i + 1]}
    groups[key] = group
    reply[#reply + 1] = group
  end
  group[4] = group[4] + 1
  group[6] = letters[i + 1]
  last[key] = letters[i]
end
for key, group in pairs(groups) do
  group[7] = redis.call('HGET', ARGV[1] .. last[key], 'message') or ''
end
return reply
