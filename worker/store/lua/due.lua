-- What is due in a partition, by its own clock.
--
-- KEYS[1] mark  string  what time it was (`_moment.lua`)
-- then sets:
--   zset  by when each is due, µs
-- ARGV[1] how many of each set at most
-- Returns {now, the first set's, the next one's, ...}: what is due of each, the longest due first; or nothing, if all are empty.
if redis.call('EXISTS', unpack(KEYS, 2)) == 0 then
  return {}
end
-- It is looked at all the time: a partition in which nothing happens notes once a minute what time it is.
local now = string.format('%.0f', (moment(KEYS[1], 60000000)))
local reply = {now}
for i = 2, #KEYS do
  reply[i] = redis.call('ZRANGEBYSCORE', KEYS[i], '-inf', now, 'LIMIT', 0, ARGV[1])
end
return reply
