-- Keep a hold, unless it has passed to somebody else.
--
-- KEYS[1] hold  string  who holds it
-- ARGV[1] worker
-- ARGV[2] for how long from now, ms
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
