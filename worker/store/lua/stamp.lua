-- A date for what is learnt of a partition's owners: later than every one given before, to a hint, an answer or an act.
--
-- KEYS[1] stamp  string  the last one
-- KEYS[2] mark   string  what time it was (`_moment.lua`)
-- Returns the date, µs.
local at = string.format('%.0f', math.max(moment(KEYS[2]), tonumber(redis.call('GET', KEYS[1]) or '0') + 1))
redis.call('SET', KEYS[1], at)
return at
