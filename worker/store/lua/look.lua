-- What the server's clock shows, and what it says of a stream, at one moment.
--
-- KEYS[1] changes  stream
-- Returns {seconds, microseconds, XINFO STREAM's reply}; false in place of that if there is no stream yet.
local time = redis.call('TIME')
if redis.call('EXISTS', KEYS[1]) == 0 then
  return {time[1], time[2], false}
end
return {time[1], time[2], redis.call('XINFO', 'STREAM', KEYS[1])}
