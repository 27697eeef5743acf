-- The dead letters of one partition that were given up on in a span of time, oldest first.
--
-- KEYS[1] dead  zset
-- ARGV[1] from when, ARGV[2] until when, µs or -inf and +inf, both inclusive
-- Returns {id, given up on at, id, ...}
return redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[1], ARGV[2], 'WITHSCORES')
