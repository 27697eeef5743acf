-- Have time go by the server's clock again, after that had been ahead, and note by how much it was, until everything is
-- dated anew. One that was begun and not finished goes on.
--
-- KEYS[1] mark   string  what time it was noted to be (`_moment.lua`)
-- KEYS[2] reset  string  by how much time was ahead
-- KEYS[3..] stamps  strings  the last date given in each partition
-- ARGV[1] by how much it has to be ahead at least, µs
-- Returns by how much it was ahead, µs; 0 if that is too little.
local now, clock = moment(KEYS[1])
local last = now
for i = 3, #KEYS do
  last = math.max(last, tonumber(redis.call('GET', KEYS[i]) or '0'))
end
local by = last - clock
if by < tonumber(ARGV[1]) then
  return redis.call('GET', KEYS[2]) or '0'
end
local text = string.format('%.0f', clock)
redis.call('SET', KEYS[1], text .. ' ' .. text)
for i = 3, #KEYS do
  if tonumber(redis.call('GET', KEYS[i]) or '0') > clock then
    redis.call('SET', KEYS[i], text)
  end
end
by = string.format('%.0f', by)
redis.call('SET', KEYS[2], by)
return by
