-- Put before every script that calls `came`: note on an event of the inbox, if it is still there, what came of it: a line for
-- each of the first revisions, once, and the number of the others.
local function came(event, text)
  local found = redis.pcall('HMGET', event, 'lane', 'came')
  if found.err then
    return
  end
  local lane, known = found[1], found[2] or ''
  if not lane or string.find('\n' .. known, '\n' .. text, 1, true) then
    return
  end
  if #known < 1000 then
    redis.call('HSET', event, 'came', known .. text)
  else
    redis.call('HINCRBY', event, 'more', 1)
  end
end

