-- Have time go by the server's clock again, after that had been ahead, in one partition or in the installation's own keys.
--
-- KEYS[1] mark   string  what time it was noted to be (`_moment.lua`)
-- KEYS[2] stamp  string  the last date given, where dates are given
local time = redis.call('TIME')
local clock = string.format('%.0f', time[1] * 1000000 + time[2])
redis.call('SET', KEYS[1], clock .. ' ' .. clock)
if KEYS[2] and tonumber(redis.call('GET', KEYS[2]) or '0') > tonumber(clock) then
  redis.call('SET', KEYS[2], clock)
end
return 1
