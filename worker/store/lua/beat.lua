-- Note that a process is alive; forget those that were silent for long.
--
-- KEYS[1] mark   string  what time it was (`_moment.lua`)
-- KEYS[2] alive  zset    processes of a role, by when they were last seen
-- ARGV[1] process
-- ARGV[2] after how long a silent one is forgotten, µs
local now = moment(KEYS[1])
redis.call('ZADD', KEYS[2], string.format('%.0f', now), ARGV[1])
return redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now - tonumber(ARGV[2])))
