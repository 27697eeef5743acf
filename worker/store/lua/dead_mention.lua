-- Whether the body of an event holds a text. The body stays here: it may have 25 MiB.
--
-- KEYS[1] event  hash
-- ARGV[1] text
-- Returns 1 or 0.
return string.find(redis.call('HGET', KEYS[1], 'body') or '', ARGV[1], 1, true) and 1 or 0
