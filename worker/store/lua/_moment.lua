-- Put before every script that calls `moment`: what time it is for Tenure. By the server's clock, but never back: while that
-- is behind what was shown before, because somebody has set it back or another server with another clock has taken over, time
-- goes on from there, a sixteenth slower, until the clock has caught up. What is shown is noted.
--
-- mark: the key of what was noted, `<time> <the server's clock then>`, both µs
-- pause: for how long what was noted will do, µs; a second, if it is not said; 0: nothing is noted
-- Returns the time and the server's clock, µs.
local function moment(mark, pause)
  local time = redis.call('TIME')
  local clock = time[1] * 1000000 + time[2]
  local last, seen = string.match(redis.call('GET', mark) or '', '^(%d+) (%d+)$')
  local shown = clock
  if last and clock <= tonumber(last) then
    -- If the clock was set back just now, time goes on from here by what it shows.
    shown = tonumber(last) + math.floor(math.max(0, clock - tonumber(seen)) * 15 / 16)
  end
  if pause ~= 0 and (not last or shown - tonumber(last) >= (pause or 1000000) or clock < tonumber(seen)) then
    redis.call('SET', mark, string.format('%.0f %.0f', shown, clock))
  end
  return shown, clock
end

