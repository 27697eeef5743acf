-- Put another field in the place of one of a hash, and of its member in the order beside it, unless somebody has written
-- it meanwhile.
--
-- KEYS[1] hash
-- KEYS[2] order  zset  or the hash again, if there is none
-- ARGV[1] field, ARGV[2] what it holds
-- ARGV[3] field that takes its place, ARGV[4] what that holds, ARGV[5] its score
-- Returns 1 if it did.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
  return 0
end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HSETNX', KEYS[1], ARGV[3], ARGV[4])
if KEYS[2] ~= KEYS[1] then
  redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('ZADD', KEYS[2], 'NX', ARGV[5], ARGV[3])
end
return 1
