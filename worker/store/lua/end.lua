-- End a run of a job, unless a later one was begun meanwhile.
--
-- KEYS[1] job   hash
-- KEYS[2] mark  string  what time it was (`_moment.lua`)
-- ARGV[1] when it was planned, s
-- ARGV[2] what went wrong, empty: nothing
local started = redis.call('HGET', KEYS[1], 'started')
if started and redis.call('HGET', KEYS[1], 'planned') == ARGV[1] then
  local now = moment(KEYS[2])
  redis.call('HSET', KEYS[1], 'finished', string.format('%.0f', now), 'took', string.format('%.0f', now - tonumber(started)), 'error', ARGV[2])
end
return 1
