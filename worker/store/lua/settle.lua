-- Events that were settled leave the inbox, whoever holds them now: what they say has been learnt. Safe to run twice.
--
-- KEYS[1] waiting   zset  the lane
-- KEYS[2] counters  hash
-- KEYS[3] dead      zset
-- KEYS[4] audit     stream  gets an entry for each that was an operator's act: in this step, so there is one and only one
-- KEYS[5..] marks   string  for each event: remembers that it was settled
-- ARGV[1] prefix of the events' keys, in the same slot
-- ARGV[2] how long a settled event is remembered, ms
-- then for each event, of which there is one at least: id, what its mark says
local ids, keys = {}, {}
for i = 3, #ARGV, 2 do
  local key = ARGV[1] .. ARGV[i]
  local known = redis.call('HMGET', key, 'act', 'bulk')
  if known[1] then
    redis.call('XADD', KEYS[4], '*', 'act', known[1], 'outcome', 'done')
  end
  if known[2] then
    redis.call('UNLINK', known[2])
  end
  ids[#ids + 1] = ARGV[i]
  keys[#keys + 1] = key
  redis.call('SET', KEYS[4 + #ids], ARGV[i + 1], 'PX', ARGV[2])
end
local settled = redis.call('DEL', unpack(keys))
redis.call('ZREM', KEYS[1], unpack(ids))
redis.call('ZREM', KEYS[3], unpack(ids))
if settled > 0 then
  redis.call('HINCRBY', KEYS[2], 'settled', settled)
end
return settled
