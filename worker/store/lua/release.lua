-- Release a hold, unless it has passed to somebody else.
--
-- KEYS[1] hold  string  who holds it
-- ARGV[1] worker
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
