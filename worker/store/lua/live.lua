-- Note that a part of the store lives on, or look how far it has come.
--
-- KEYS[1] beats  string  how often that was noted, and when last by the server's clock, µs
-- ARGV[1] how often it was when somebody saw it: what counts less lacks what was written since, and is left as it is
-- ARGV[2] empty: only look; +: it lives on; a number: what it lacks is known, and so many are to be more than anybody saw
-- Returns {beats, when the last of them was noted, or 0}
local beats, noted = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) (%d+)$')
beats, noted = tonumber(beats or '0'), noted or '0'
local wanted = beats
if ARGV[2] == '+' then
  wanted = beats >= tonumber(ARGV[1]) and beats + 1 or beats
elseif ARGV[2] ~= '' then
  wanted = math.max(beats, tonumber(ARGV[2]))
end
if wanted > beats then
  local time = redis.call('TIME')
  redis.call('SET', KEYS[1], string.format('%.0f %.0f', wanted, time[1] * 1000000 + time[2]))
end
return {wanted, noted}
