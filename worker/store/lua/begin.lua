-- Begin a run of a job, unless this tick or a later one was begun already.
--
-- KEYS[1] job  hash  planned, started, worker, runs, finished, took, error
-- KEYS[2] mark string  what time it was (`_moment.lua`)
-- ARGV[1] when it was planned, s
-- ARGV[2] worker
-- Returns 1 if the caller is to run it.
local last, now = redis.call('HGET', KEYS[1], 'planned'), moment(KEYS[2])
-- One that is planned for long after now is of a scheduler whose clock was wrong: it must not keep others from running.
if last and tonumber(last) >= tonumber(ARGV[1]) and tonumber(last) <= now / 1000000 + 60 then
  return 0
end
redis.call('HSET', KEYS[1], 'planned', ARGV[1], 'started', string.format('%.0f', now), 'worker', ARGV[2])
redis.call('HINCRBY', KEYS[1], 'runs', 1)
redis.call('HDEL', KEYS[1], 'finished')
return 1
