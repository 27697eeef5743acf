-- Some fields of dead letters of one partition, and how long their bodies are: bodies themselves may be large.
--
-- KEYS[1] dead  zset
-- ARGV[1] prefix of the events' keys, in the same slot
-- ARGV[2] how many fields
-- ARGV[3..] fields, then ids
-- Returns for each id {field, ..., length of the body}; false for one that is no dead letter any more.
local count = tonumber(ARGV[2])
local fields = {unpack(ARGV, 3, 2 + count)}
local replies = {}
for i = 3 + count, #ARGV do
  local found = false
  if redis.call('ZSCORE', KEYS[1], ARGV[i]) then
    found = redis.call('HMGET', ARGV[1] .. ARGV[i], unpack(fields))
    local bulk = redis.call('HGET', ARGV[1] .. ARGV[i], 'bulk')
    found[count + 1] = bulk and redis.call('STRLEN', bulk) or redis.call('HSTRLEN', ARGV[1] .. ARGV[i], 'body')
  end
  replies[#replies + 1] = found
end
return replies
