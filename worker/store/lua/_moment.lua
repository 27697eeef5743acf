-- Put before every script that calls `moment`: what time it is for Tenure. By the server's clock, but never back: while that
-- is behind what was shown before, because somebody has set it back, time goes on from there, a sixteenth slower, until the
-- clock has caught up. Processes note the time every few seconds (`beat.lua`).
--
-- mark: the key of what was noted, `<time> <the server's clock then>`, both µs
-- Returns the time and the server's clock, µs.
local function moment(mark)
  local time = redis.call('TIME')
  local clock = time[1] * 1000000 + time[2]
  local last, seen = string.match(redis.call('GET', mark) or '', '^(%d+) (%d+)$')
  if not last or clock > tonumber(last) then
    return clock, clock
  end
  if clock < tonumber(seen) then
    -- It was set back just now: from here on, time goes on by what it shows.
    redis.call('SET', mark, last .. ' ' .. string.format('%.0f', clock))
    return tonumber(last), clock
  end
  return tonumber(last) + math.floor((clock - tonumber(seen)) * 15 / 16), clock
end

