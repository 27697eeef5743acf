-- Events that were settled leave the inbox, whoever holds them now: what they say has been learnt. Safe to run twice.
--
-- KEYS[1] waiting   zset  the lane
-- KEYS[2] counters  hash
-- KEYS[3] dead      zset
-- KEYS[4] audit     stream  gets an entry for each that was an operator's act: in this step, so there is one and only one
-- KEYS[5] mark      string  what time it was (`_moment.lua`)
-- KEYS[6] overflow  zset    the lane for what one owner of this lane has too much of; else the lane itself
-- KEYS[7] rung      string  exists while a wake-up for the lane is under way
-- KEYS[8] rung      string  the same for the overflow
-- KEYS[9..] marks   string  for each event: remembers that it was settled
-- ARGV[1] prefix of the events' keys, in the same slot
-- ARGV[2] how long a settled event is remembered, ms
-- then for each event, of which there is one at least: id, what its mark says
-- Returns 1 if others are due in the lane or its overflow and nobody is on his way: they were left for whoever had events
-- of the same owner.
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
  redis.call('SET', KEYS[8 + #ids], ARGV[i + 1], 'PX', ARGV[2])
end
local settled = redis.call('DEL', unpack(keys))
redis.call('ZREM', KEYS[1], unpack(ids))
redis.call('ZREM', KEYS[3], unpack(ids))
if settled > 0 then
  redis.call('HINCRBY', KEYS[2], 'settled', settled)
end
local now = string.format('%.0f', moment(KEYS[5]))
local function waits(lane, rung)
  return #redis.call('ZRANGEBYSCORE', lane, '-inf', now, 'LIMIT', 0, 1) > 0 and redis.call('EXISTS', rung) == 0
end
return (waits(KEYS[1], KEYS[7]) or waits(KEYS[6], KEYS[8])) and 1 or 0
