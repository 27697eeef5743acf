-- Some of the dead letters of one partition, in the order in which they were given up on, counted by their kind.
--
-- KEYS[1] dead  zset
-- ARGV[1] prefix of the events' keys, in the same slot
-- ARGV[2] from which place, ARGV[3] to which, both inclusive, from 0
-- Returns {kind, how many, when the oldest was given up on, kind, ...}
local letters = redis.call('ZRANGE', KEYS[1], ARGV[2], ARGV[3], 'WITHSCORES')
local counts, oldest, reply = {}, {}, {}
for i = 1, #letters, 2 do
  local kind = redis.call('HGET', ARGV[1] .. letters[i], 'kind') or ''
  counts[kind] = (counts[kind] or 0) + 1
  oldest[kind] = oldest[kind] or letters[i + 1]
end
for kind, count in pairs(counts) do
  reply[#reply + 1] = kind
  reply[#reply + 1] = count
  reply[#reply + 1] = oldest[kind]
end
return reply
