-- Drop one dead letter, and note in the audit trail who did and what it was, in the same step.
--
-- Its mark as settled stays for a while: delivered again, a webhook would get another date than its first.
--
-- KEYS[1] event    hash
-- KEYS[2] dead     zset
-- KEYS[3] settled  string  its mark, if its id is a digest of what it says
-- KEYS[4] audit    stream
-- KEYS[5] mark     string  its mark, if it is not
-- ARGV[1] id
-- ARGV[2] how long a settled event is remembered, ms
-- ARGV[3] the act, JSON
-- Returns 1, or 0 if it was no dead letter (any more).
if redis.call('ZREM', KEYS[2], ARGV[1]) == 0 then
  return 0
end
local said, bulk = unpack(redis.call('HMGET', KEYS[1], 'said', 'bulk'))
if bulk then
  redis.call('UNLINK', bulk)
end
redis.call('DEL', KEYS[1])
redis.call('SET', said and KEYS[5] or KEYS[3], said and 's' .. said or '', 'PX', ARGV[2])
redis.call('XADD', KEYS[4], '*', 'act', ARGV[3], 'outcome', 'done')
return 1
