-- Drop one dead letter, and note in the audit trail who did and what it was, in the same step.
--
-- The ledger keeps that it was dropped: delivered again, a webhook would get another date than its first.
--
-- KEYS[1] event    hash
-- KEYS[2] dead     zset
-- KEYS[3] audit    stream
-- KEYS[4] mark     string  that it waits, and a digest of what it says, if there is one
-- KEYS[5] mark     string  what time it was (`_moment.lua`)
-- KEYS[6] newer, KEYS[7] older, KEYS[8] since  its shelf in the ledger (`_enter.lua`)
-- ARGV[1] id
-- ARGV[2] the act, JSON
-- ARGV[3] room of a shelf; ARGV[4] how long an entry is kept, µs
-- ARGV[5] its field in the ledger; ARGV[6] how its entry begins
-- Returns 1, or 0 if it was no dead letter (any more).
if redis.call('ZREM', KEYS[2], ARGV[1]) == 0 then
  return 0
end
local bulk, came, more = unpack(redis.call('HMGET', KEYS[1], 'bulk', 'came', 'more'))
if bulk then
  redis.call('UNLINK', bulk)
end
redis.call('DEL', KEYS[1])
redis.call('DEL', KEYS[4])
enter(
  KEYS[6], KEYS[7], KEYS[8], moment(KEYS[5]), tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5],
  ARGV[6] .. (came or '') .. (more and '+' .. more or '')
)
redis.call('XADD', KEYS[3], '*', 'act', ARGV[2], 'outcome', 'done')
return 1
