-- An operator has opened a store that went back in time, unless it went back once more meanwhile.
--
-- KEYS[1] epoch  hash  `epoch`, `accepted`
-- ARGV[1] epoch that was opened
-- ARGV[2] when, µs
if redis.call('HGET', KEYS[1], 'epoch') == ARGV[1] then
  redis.call('HSET', KEYS[1], 'accepted', ARGV[2])
end
return 1
