-- Events that were settled leave the inbox, whoever holds them now: what they say has been learnt. The ledger keeps what came of
-- them. Safe to run twice.
--
-- KEYS[1] waiting   zset  the lane
-- KEYS[2] counters  hash
-- KEYS[3] dead      zset
-- KEYS[4] audit     stream  gets an entry for each that was an operator's act: in this step, so there is one and only one
-- KEYS[5] mark      string  what time it was (`_moment.lua`)
-- KEYS[6] overflow  zset    the lane for what one owner of this lane has too much of; else the lane itself
-- KEYS[7] rung      string  exists while a wake-up for the lane is under way
-- KEYS[8] rung      string  the same for the overflow
-- KEYS[9] since     string  of the ledger (`_enter.lua`)
-- KEYS[10] changes  stream  gets the notice of each that has one, once
-- then for each event:
--   event    hash
--   body     string  that it has in a key of its own; else the event
--   newer, older  hash  its shelf in the ledger
--   mark     string  that it waits, and a digest of what it says, unless its id is a digest of that
-- ARGV[1] room of a shelf of the ledger
-- ARGV[2] how long an entry is kept there at least, µs
-- then for each event, of which there is one at least:
--   id
--   its field in the ledger, and how its entry begins
--   how long its mark remembers that it was settled, in place of the ledger, ms; 0: the ledger does
-- Returns 1 if others are due in the lane or its overflow and nobody is on his way: they were left for whoever had events
-- of the same owner.
local time = moment(KEYS[5])

local ledger_room, kept = tonumber(ARGV[1]), tonumber(ARGV[2])

-- Of an event that is gone, somebody else has entered what came of it.
local function remember(newer, older, mark, held, field, value, passing)
  if passing > 0 then
    redis.call('SET', mark, value, 'PX', passing)
    return
  end
  if held or not (redis.call('HGET', newer, field) or redis.call('HGET', older, field)) then
    enter(newer, older, KEYS[9], time, ledger_room, kept, field, value)
  end
  if string.byte(value) >= 16 then
    redis.call('DEL', mark)
  end
end

local ids, keys, awaited = {}, {}, {}
local k, a = 11, 3
while a <= #ARGV do
  local id, key, body = ARGV[a], KEYS[k], KEYS[k + 1]
  local known = redis.call('HMGET', key, 'act', 'kind', 'came', 'more', 'awaited', 'notice')
  if known[1] then
    redis.call('XADD', KEYS[4], '*', 'act', known[1], 'outcome', 'done')
  end
  if body ~= key then
    redis.call('UNLINK', body)
  end
  if known[5] then
    awaited[id] = known[5]
  end
  if known[6] then
    redis.call('XADD', KEYS[10], '*', 'event', known[6])
    redis.call('HINCRBY', KEYS[2], 'refused', 1)
  end
  ids[#ids + 1] = id
  keys[#keys + 1] = key
  local came = (known[3] or '') .. (known[4] and '+' .. known[4] or '')
  remember(KEYS[k + 2], KEYS[k + 3], KEYS[k + 4], known[2], ARGV[a + 1], ARGV[a + 2] .. came, tonumber(ARGV[a + 3]))
  k, a = k + 5, a + 4
end
local settled = redis.call('DEL', unpack(keys))
for id, channel in pairs(awaited) do
  redis.call('PUBLISH', channel, id)
end
redis.call('ZREM', KEYS[1], unpack(ids))
redis.call('ZREM', KEYS[3], unpack(ids))
if settled > 0 then
  redis.call('HINCRBY', KEYS[2], 'settled', settled)
end
local now = string.format('%.0f', time)
local function waits(lane, rung)
  return #redis.call('ZRANGEBYSCORE', lane, '-inf', now, 'LIMIT', 0, 1) > 0 and redis.call('EXISTS', rung) == 0
end
return (waits(KEYS[1], KEYS[7]) or waits(KEYS[6], KEYS[8])) and 1 or 0
