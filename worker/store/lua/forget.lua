-- Forget that an owner has policies, unless one came meanwhile.
--
-- KEYS[1] owners  zset  GitHub owners that have policies
-- KEYS[2] index   zset  policies that watch the owner
-- ARGV[1] owner
-- Returns 1 if it was forgotten.
if redis.call('ZCARD', KEYS[2]) > 0 then
  return 0
end
return redis.call('ZREM', KEYS[1], ARGV[1])
