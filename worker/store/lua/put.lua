-- Put one event into the inbox: stored once, dated once.
--
-- A body that is too large for a script is there already, in a key of its own that expires unless the event keeps it.
--
-- KEYS[1] event    hash    the event
-- KEYS[2] waiting  zset    the unsettled events of the lane of what is small, by when they may be claimed
-- KEYS[3] settled  string  exists if the event was settled by a release before the ledger
-- KEYS[4] dead     zset    dead letters
-- KEYS[5] stamp    string  the last date given in this partition, to an event or by `stamp.lua`
-- KEYS[6] rung     string  exists while a wake-up for that lane is under way
-- KEYS[7] counters hash
-- KEYS[8] mark     string  not for a webhook: `w` while the event waits, then the digest of what it says. A release before
--                  the ledger left it as `s` once that was settled
-- KEYS[9] waiting, KEYS[10] rung  the same for the lane of what has a body in a key of its own
-- KEYS[11] body    string  if ARGV[8] is not empty: the body
-- KEYS[12] reserved string  what an event of its id says, whose batch is being taken (`agree.lua`); not for a webhook
-- KEYS[13] mark    string  what time it was (`_moment.lua`)
-- KEYS[14] newer, KEYS[15] older, KEYS[16] since  the event's shelf in the ledger (`_enter.lua`), if ARGV[10] is not empty
-- ARGV[1] event id
-- ARGV[2] lane of what is small
-- ARGV[3] name, for the counters
-- ARGV[4] how long a wake-up counts as under way, ms
-- ARGV[5] digest of what it says; empty: its id is a digest of that already
-- ARGV[6] not empty: its id is reserved for the batch that it is in
-- ARGV[7] lane of what has a body in a key of its own
-- ARGV[8] length of such a body; empty: it has none
-- ARGV[9] by how much it goes before others, µs
-- ARGV[10] its field in the ledger: it is that of no other event; empty: an event that is here has its entry already
-- ARGV[11] how its entry begins while it waits, a byte; empty: it gets none; ARGV[12] how that ends
-- ARGV[13] room of a shelf; ARGV[14] how long an entry is kept, µs
-- ARGV[15..] field, value, ...  of the event; none: only take again what is here, as a replay does
-- Returns {status, ring}: status is queued, duplicate, conflict if an event of this id says something else, lost if the
-- body has expired, or gone for what is not here; ring is the lane for which the caller should wake a worker, or empty.
local now = moment(KEYS[13])
local lane, waiting, rung = ARGV[2], KEYS[2], KEYS[6]

local function bulky()
  lane, waiting, rung = ARGV[7], KEYS[9], KEYS[10]
end

-- A date later than every one given before.
local function stamped()
  local last = tonumber(redis.call('GET', KEYS[5]) or '0')
  local at = string.format('%.0f', math.max(now, last + 1))
  redis.call('SET', KEYS[5], at)
  return at
end

-- In the order of these dates, unless they are ahead of the time, as just after the clock was set back; what goes first,
-- before all others.
local function wait(at, ahead)
  local due = tonumber(at) - now < 10000 and tonumber(at) or now
  redis.call('ZADD', waiting, 'LT', string.format('%.0f', due - ahead), ARGV[1])
end

local entry = ARGV[10] ~= '' and (redis.call('HGET', KEYS[14], ARGV[10]) or redis.call('HGET', KEYS[15], ARGV[10]))
-- An entry begins with a byte: how it stands with the event (0: it waits), from 16 on if a digest of what it says is there, too.
local done = entry and string.byte(entry) % 4 > 0
local digest = done and string.byte(entry) >= 16 and string.sub(entry, 6, 21)

local function noted(received)
  if ARGV[11] == '' then
    return
  end
  local seconds = math.floor(tonumber(received) / 1000000)
  local date = string.char(
    math.floor(seconds / 16777216) % 256, math.floor(seconds / 65536) % 256, math.floor(seconds / 256) % 256, seconds % 256
  )
  enter(
    KEYS[14], KEYS[15], KEYS[16], now, tonumber(ARGV[13]), tonumber(ARGV[14]), ARGV[10], ARGV[11] .. date .. ARGV[12]
  )
end

-- Why it is not taken; nil if nothing is against it.
local function refusal()
  local mark = ARGV[5] ~= '' and redis.call('GET', KEYS[8])
  local reserved = ARGV[5] ~= '' and redis.call('GET', KEYS[12])
  local said = ARGV[5] ~= '' and ((mark and string.sub(mark, 2)) or digest or (reserved and string.sub(reserved, 1, 16)))
  if said and said ~= ARGV[5] then
    return 'conflict'
  end
  if done or (mark and string.sub(mark, 1, 1) == 's') or redis.call('EXISTS', KEYS[3]) == 1 then
    redis.call('HINCRBY', KEYS[7], 'duplicates', 1)
    return 'duplicate'
  end
end

-- It was never settled, so it is taken again, with its first date. An event that a worker holds is left to it.
local function again()
  local known = redis.call('HMGET', KEYS[1], 'lane', 'bulk', 'held_by', 'failures', 'received_at')
  if known[2] then
    bulky()
  end
  if not entry then
    noted(known[5])
  end
  if redis.call('ZREM', KEYS[4], ARGV[1]) == 1 then
    redis.call('HDEL', KEYS[1], 'held_by', 'deaths', 'late')
    redis.call('HSET', KEYS[1], 'lane', lane, 'forgiven', known[4] or '0')
    wait(stamped(), 0)
  elseif known[1] == lane and not known[3] then
    wait(now, 0)
  end
end

local function store()
  if ARGV[8] ~= '' then
    if redis.call('STRLEN', KEYS[11]) ~= tonumber(ARGV[8]) then
      return 'lost'
    end
    redis.call('PERSIST', KEYS[11])
    redis.call('HSET', KEYS[1], 'bulk', KEYS[11])
    bulky()
  end
  local received = stamped()
  redis.call('HSET', KEYS[1], 'lane', lane, 'received_at', received, unpack(ARGV, 15))
  if ARGV[5] ~= '' then
    redis.call('SET', KEYS[8], 'w' .. ARGV[5])
  end
  noted(received)
  wait(received, tonumber(ARGV[9]))
  redis.call('HINCRBY', KEYS[7], 'received:' .. ARGV[3], 1)
end

local status, stored = refusal(), false
if not status then
  if redis.call('EXISTS', KEYS[1]) == 1 then
    again()
  elseif #ARGV < 15 then
    status = 'gone'
  else
    status = store()
    stored = not status
  end
end
if ARGV[8] ~= '' and not stored then
  redis.call('UNLINK', KEYS[11])
end
if ARGV[6] ~= '' then
  redis.call('DEL', KEYS[12])
end
if status then
  return {status, ''}
end
return {'queued', redis.call('SET', rung, '1', 'NX', 'PX', ARGV[4]) and lane or ''}
