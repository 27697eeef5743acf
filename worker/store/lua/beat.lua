-- Note what time it is, so that it never goes back, and that a process is alive; forget those that were silent for long.
--
-- KEYS[1] mark   string  what time it was, and the server's clock then
-- KEYS[2] alive  zset    processes of a role, by when they were last seen
-- ARGV[1] process
-- ARGV[2] after how long a silent one is forgotten, µs
local now, clock = moment(KEYS[1])
redis.call('SET', KEYS[1], string.format('%.0f %.0f', now, clock))
redis.call('ZADD', KEYS[2], string.format('%.0f', now), ARGV[1])
return redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now - tonumber(ARGV[2])))
