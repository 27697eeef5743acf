-- Events that were settled leave the inbox, whoever holds them now: what they say has been learnt. The ledger keeps what came of
-- them. Safe to run twice.
--
-- A login that one of them tells of is counted in the same step, so that it is once and only once: an event leaves once, and
-- while the ledger or its mark says so it does not come back. Nothing is counted of a policy that nobody registered.
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
-- KEYS[11] published string
-- then for each event:
--   newer, older  hash  its shelf in the ledger
--   mark     string  that it waits, and a digest of what it says; empty, if its id is a digest of that
--   locator  string  if a login is counted: exists if its policy was registered
--   logins   hash    the same: name → `<how often> <first, µs> <last, µs> <what was said of the last>`
-- ARGV[1] prefix of the events' keys, in the same slot
-- ARGV[2] room of a shelf of the ledger
-- ARGV[3] how long an entry is kept there at least, µs
-- then for each event, of which there is one at least:
--   id
--   its field in the ledger, and how its entry begins
--   how long its mark remembers that it was settled, in place of the ledger, ms; 0: the ledger does
--   under how many names a login is counted; 0: it tells of none
--   if it tells of one:
--     when that was, µs
--     how long after that it counts, µs; later it may only be the first or the last
--     how many names there may be, beside the first one
--     for each name: name, what is said. The first one is every login's
-- Returns 1 if others are due in the lane or its overflow and nobody is on his way: they were left for whoever had events
-- of the same owner.
local time = moment(KEYS[5])

-- Room for one more name: that which was not heard of for the longest time goes, unless the new one is older.
local function room(key, every, name, at, most)
  if redis.call('HLEN', key) <= most then
    return true
  end
  local all, oldest, since = redis.call('HGETALL', key), nil, nil
  for i = 1, #all, 2 do
    local last = tonumber(string.match(all[i + 1], '^%d+ %d+ (%d+) ') or '0')
    if all[i] ~= every and (not since or last < since or (last == since and all[i] < oldest)) then
      oldest, since = all[i], last
    end
  end
  if at < since or (at == since and name < oldest) then
    return false
  end
  redis.call('HDEL', key, oldest)
  return true
end

local function count(key, every, name, said, at, within, most)
  local found = redis.pcall('HGET', key, name)
  if type(found) == 'table' then
    -- Somebody else wrote this key.
    return
  end
  local times, first, last, known = string.match(found or '', '^(%d+) (%d+) (%d+) (.*)$')
  if not times then
    if name ~= every and not room(key, every, name, at, most) then
      return
    end
    times, first, last, known = 0, at, at, said
  end
  first, last = math.min(tonumber(first), at), tonumber(last)
  if at > last or (at == last and said > known) then
    last, known = at, said
  end
  times = tonumber(times) + (time - at <= within and 1 or 0)
  redis.call('HSET', key, name, string.format('%.0f %.0f %.0f ', times, first, last) .. known)
end

local ledger_room, kept = tonumber(ARGV[2]), tonumber(ARGV[3])

-- Of an event that is gone, somebody else has entered what came of it.
local function remember(newer, older, mark, held, field, value, passing)
  if passing > 0 then
    redis.call('SET', mark, value, 'PX', passing)
    return
  end
  if held or not (redis.call('HGET', newer, field) or redis.call('HGET', older, field)) then
    enter(newer, older, KEYS[9], time, ledger_room, kept, field, value)
  end
  if mark ~= '' then
    redis.call('DEL', mark)
  end
end

local ids, keys, awaited = {}, {}, {}
local k, a = 12, 4
while a <= #ARGV do
  local id, names = ARGV[a], tonumber(ARGV[a + 4])
  local key = ARGV[1] .. id
  local known = redis.call('HMGET', key, 'act', 'bulk', 'kind', 'came', 'more', 'awaited', 'notice')
  if known[1] then
    redis.call('XADD', KEYS[4], '*', 'act', known[1], 'outcome', 'done')
  end
  if known[2] then
    redis.call('UNLINK', known[2])
  end
  if known[6] then
    awaited[id] = known[6]
  end
  if known[7] then
    redis.call('XADD', KEYS[10], '*', 'event', known[7])
    redis.call('INCRBY', KEYS[11], 1)
  end
  ids[#ids + 1] = id
  keys[#keys + 1] = key
  local came = (known[4] or '') .. (known[5] and '+' .. known[5] or '')
  remember(KEYS[k], KEYS[k + 1], KEYS[k + 2], known[3], ARGV[a + 1], ARGV[a + 2] .. came, tonumber(ARGV[a + 3]))
  if names > 0 and known[3] and redis.call('EXISTS', KEYS[k + 3]) == 1 then
    local at, within, most = tonumber(ARGV[a + 5]), tonumber(ARGV[a + 6]), tonumber(ARGV[a + 7])
    for i = a + 8, a + 6 + names * 2, 2 do
      count(KEYS[k + 4], ARGV[a + 8], ARGV[i], ARGV[i + 1], at, within, most)
    end
  end
  k, a = k + (names > 0 and 5 or 3), a + 5 + (names > 0 and 3 + names * 2 or 0)
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
