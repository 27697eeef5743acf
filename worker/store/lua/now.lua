-- What time it is.
--
-- KEYS[1] mark  string  what time it was (`_moment.lua`)
-- Returns {time, what the server's clock shows}, both µs.
return {moment(KEYS[1], 0)}
