-- Take GitHub owners of one partition whose check is due. They are the caller's until their lease ends; then, if nobody
-- said what came of them, they are due again.
--
-- KEYS[1] checks    zset  owners by when they may be checked, µs
-- KEYS[2] checking  zset  owners that are being checked, by when their lease ends, µs
-- ARGV[1] now, µs
-- ARGV[2] lease, µs
-- ARGV[3] how many at most
-- ARGV[4] prefix of the hashes of what is wanted
-- ARGV[5] prefix of the owners' hashes
-- Returns {owner, failures, {scope, when asked for, ...}, ...}
local now = tonumber(ARGV[1])
for _, owner in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now)) do
  redis.call('ZREM', KEYS[2], owner)
  redis.call('ZADD', KEYS[1], 'LT', ARGV[1], owner)
end
local reply = {}
for _, owner in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 10 * ARGV[3])) do
  if #reply >= 3 * ARGV[3] then
    break
  end
  if not redis.call('ZSCORE', KEYS[2], owner) then
    redis.call('ZREM', KEYS[1], owner)
    redis.call('ZADD', KEYS[2], string.format('%.0f', now + tonumber(ARGV[2])), owner)
    reply[#reply + 1] = owner
    reply[#reply + 1] = redis.call('HGET', ARGV[5] .. owner, 'failures') or '0'
    reply[#reply + 1] = redis.call('HGETALL', ARGV[4] .. owner)
  end
end
return reply
