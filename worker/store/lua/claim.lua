-- Claim events of one lane for one worker.
--
-- An event that somebody held and never answered for may have killed its worker. It goes to the suspects' lane, where
-- one event at a time is tried, so that it takes no others with it; after `deaths` such ends it is a dead letter.
--
-- KEYS[1] waiting   zset    the lane
-- KEYS[2] suspects  zset    the suspects' lane
-- KEYS[3] rung      string  the lane's wake-up, taken now
-- KEYS[4] dead      zset
-- KEYS[5] counters  hash
-- ARGV[1] prefix of the events' keys, in the same slot
-- ARGV[2] lane
-- ARGV[3] suspects' lane
-- ARGV[4] worker
-- ARGV[5] lease, µs
-- ARGV[6] how many at most
-- ARGV[7] deaths that make a dead letter
-- ARGV[8] bytes of bodies at most, so that a batch of huge events fits into memory; one event is always claimed
-- Returns {now, more, suspects, id, fields, id, fields, ...}: more is 1 if others are due, suspects the number sent there.
redis.call('DEL', KEYS[3])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local until_ = string.format('%.0f', now + tonumber(ARGV[5]))
local limit = tonumber(ARGV[6])
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now), 'LIMIT', 0, limit + 1)
local reply = {string.format('%.0f', now), #ids > limit and 1 or 0, 0}
local room = tonumber(ARGV[8])

for i = 1, math.min(#ids, limit) do
  local id = ids[i]
  local key = ARGV[1] .. id
  local size = redis.call('HSTRLEN', key, 'body')
  if size > room and #reply > 3 then
    reply[2] = 1
    break
  end
  room = room - size
  local held = redis.call('HGET', key, 'held_by')
  local deaths = 0
  if held then
    deaths = redis.call('HINCRBY', key, 'deaths', 1)
    redis.call('HDEL', key, 'held_by')
  end
  if redis.call('EXISTS', key) == 0 then
    redis.call('ZREM', KEYS[1], id)
  elseif deaths >= tonumber(ARGV[7]) then
    redis.call('ZREM', KEYS[1], id)
    redis.call('ZADD', KEYS[4], string.format('%.0f', now), id)
    redis.call('HSET', key, 'error', 'WorkerLost', 'message',
      'the worker that held this event ended ' .. deaths .. ' times without an answer; the last was ' .. held)
    redis.call('HINCRBY', KEYS[5], 'dead:WorkerLost', 1)
  elseif held and ARGV[2] ~= ARGV[3] then
    redis.call('ZREM', KEYS[1], id)
    redis.call('ZADD', KEYS[2], string.format('%.0f', now), id)
    redis.call('HSET', key, 'lane', ARGV[3])
    reply[3] = reply[3] + 1
  else
    redis.call('ZADD', KEYS[1], until_, id)
    redis.call('HSET', key, 'held_by', ARGV[4])
    redis.call('HINCRBY', key, 'attempts', 1)
    reply[#reply + 1] = id
    reply[#reply + 1] = redis.call('HGETALL', key)
  end
end
return reply
