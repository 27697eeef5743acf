-- Begin a run of a job, unless this tick or a later one was begun already.
--
-- KEYS[1] job  hash  planned, started, worker, runs, finished, took, error
-- ARGV[1] when it was planned, s
-- ARGV[2] worker
-- Returns 1 if the caller is to run it.
local last, time = redis.call('HGET', KEYS[1], 'planned'), redis.call('TIME')
-- One that is planned for long after now is of a scheduler whose clock was wrong: it must not keep others from running.
if last and tonumber(last) >= tonumber(ARGV[1]) and tonumber(last) <= time[1] + 60 then
  return 0
end
local now = string.format('%.0f', time[1] * 1000000 + time[2])
redis.call('HSET', KEYS[1], 'planned', ARGV[1], 'started', now, 'worker', ARGV[2])
redis.call('HINCRBY', KEYS[1], 'runs', 1)
redis.call('HDEL', KEYS[1], 'finished')
return 1
