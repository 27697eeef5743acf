-- Put before every script that calls `enter`: note in the ledger of events what is known of one.
--
-- A shelf of the ledger is two small hashes: entries go into the newer one. When that is full, it becomes the older one, and
-- what was the older one is forgotten; but not before all of it is as old as a settled event is known as a duplicate for. So
-- under a flood a shelf holds more than its share, rather than forget too early.
--
-- newer, older  hash    a shelf: by field, what is known of an event; in the field '' of the newer one, when it was begun, µs
-- since         string  up to when a shelf of the partition has forgotten, µs
-- now           what time it is, µs
-- room          how many entries the newer one has before it is full
-- kept          how long an entry is kept at least, µs
-- field, value  the entry; what of the value is longer than a small hash takes (64) goes into fields of its own
local function enter(newer, older, since, now, room, kept, field, value)
  local moment_ = string.format('%.0f', now)
  local size = redis.call('HLEN', newer)
  if size > room then
    local began = tonumber(redis.call('HGET', newer, ''))
    local forgets = redis.call('EXISTS', older) == 1
    if began > now then
      -- The clock was ahead, and was reset.
      redis.call('HSET', newer, '', moment_)
    elseif not forgets or now - began >= kept then
      if forgets and tonumber(redis.call('GET', since) or '0') < began then
        redis.call('SET', since, string.format('%.0f', began))
      end
      redis.call('UNLINK', older)
      redis.call('RENAME', newer, older)
      size = 0
    end
  end
  if size == 0 then
    redis.call('HSET', newer, '', moment_)
  end
  local parts = {field, string.sub(value, 1, 64)}
  for first = 65, #value, 64 do
    parts[#parts + 1] = field .. string.char(#parts / 2)
    parts[#parts + 1] = string.sub(value, first, first + 63)
  end
  redis.call('HSET', newer, unpack(parts))
end

