-- What the server's clock shows, and what was noted of it.
--
-- KEYS[1] mark  string  (`_moment.lua`)
-- Returns {seconds, microseconds, what was noted, if anything was}.
local time = redis.call('TIME')
return {time[1], time[2], redis.call('GET', KEYS[1])}
