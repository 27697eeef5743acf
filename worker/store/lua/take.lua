-- Take GitHub owners of one partition whose check is due. They are the caller's until their lease ends, or until the
-- caller has not been seen for a while; then, if nobody said what came of them, they are due again.
--
-- KEYS[1] checks    zset  owners by when they may be checked, µs
-- KEYS[2] checking  zset  owners that are being checked, by when their lease ends, µs
-- ARGV[1] now, µs
-- ARGV[2] lease, µs
-- ARGV[3] how many at most whose last check did not take long
-- ARGV[4] prefix of the hashes of what is wanted
-- ARGV[5] prefix of the owners' hashes, of which the fields `failures`, `slow` and `holder` are used
-- ARGV[6] caller
-- ARGV[7] how many at most whose last check took long
-- ARGV[8..] processes that have ended
-- Returns {owner, failures, slow (1 or 0), {scope, when asked for, ...}, ...}
local now = tonumber(ARGV[1])
local ended = {}
for i = 8, #ARGV do
  ended[ARGV[i]] = true
end
local held = redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES')
for i = 1, #held, 2 do
  local holder = redis.call('HGET', ARGV[5] .. held[i], 'holder')
  if tonumber(held[i + 1]) <= now or (holder and ended[holder]) then
    redis.call('ZREM', KEYS[2], held[i])
    redis.call('ZADD', KEYS[1], 'LT', ARGV[1], held[i])
  end
end
local reply = {}
local room = {['0'] = tonumber(ARGV[3]), ['1'] = tonumber(ARGV[7])}
-- Those for whom there is no room are passed over; so many of them are looked at, at most.
for _, owner in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 1000)) do
  if room['0'] + room['1'] <= 0 then
    break
  end
  local slow = redis.call('HGET', ARGV[5] .. owner, 'slow') or '0'
  if room[slow] > 0 and not redis.call('ZSCORE', KEYS[2], owner) then
    room[slow] = room[slow] - 1
    -- Before anything is written: a key that is on its way to another node ends the run.
    local wanted = redis.call('HGETALL', ARGV[4] .. owner)
    redis.call('ZREM', KEYS[1], owner)
    redis.call('ZADD', KEYS[2], string.format('%.0f', now + tonumber(ARGV[2])), owner)
    redis.call('HSET', ARGV[5] .. owner, 'holder', ARGV[6])
    reply[#reply + 1] = owner
    reply[#reply + 1] = redis.call('HGET', ARGV[5] .. owner, 'failures') or '0'
    reply[#reply + 1] = slow
    reply[#reply + 1] = wanted
  end
end
return reply
