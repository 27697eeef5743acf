-- Events that were settled leave the inbox, whoever holds them now: what they say has been learnt. Safe to run twice.
--
-- KEYS[1] waiting   zset  the lane
-- KEYS[2] counters  hash
-- KEYS[3] dead      zset
-- KEYS[4] audit     stream  gets an entry for each that was an operator's act: in this step, so there is one and only one
-- ARGV[1] prefix of the events' keys, ARGV[2] prefix of the settled marks, both in the same slot
-- ARGV[3] how long a settled event is remembered, ms
-- ARGV[4..] ids, at least one
local ids, keys = {}, {}
for i = 4, #ARGV do
  local act = redis.call('HGET', ARGV[1] .. ARGV[i], 'act')
  if act then
    redis.call('XADD', KEYS[4], '*', 'act', act, 'outcome', 'done')
  end
  ids[#ids + 1] = ARGV[i]
  keys[#keys + 1] = ARGV[1] .. ARGV[i]
  redis.call('SET', ARGV[2] .. ARGV[i], '', 'PX', ARGV[3])
end
local settled = redis.call('DEL', unpack(keys))
redis.call('ZREM', KEYS[1], unpack(ids))
redis.call('ZREM', KEYS[3], unpack(ids))
if settled > 0 then
  redis.call('HINCRBY', KEYS[2], 'settled', settled)
end
return settled
