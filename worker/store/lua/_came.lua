-- Put before every script that calls `came`: note on an event of the inbox, if it is still there, what came of it: a line for
-- each of the first revisions, and the number of the others.
local function came(event, text)
  local found = redis.pcall('HMGET', event, 'lane', 'came')
  if found.err then
    return
  end
  local lane, known = unpack(found)
  if lane and #(known or '') < 1000 then
    redis.call('HSET', event, 'came', (known or '') .. text)
  elseif lane then
    redis.call('HINCRBY', event, 'more', 1)
  end
end

