-- Claim events of one lane for one worker: those first that go before others, but never so many that others wait for ever.
--
-- Of one owner (or of one policy, where no owner is named) so many may be under way and no more; the rest of his goes to the
-- overflow, so that others need not wait for it. Whose events are too many is looked for further down the lane, too. What one
-- worker has of an owner, another does not join: they would only take turns in losing the same policies. He that has it
-- claims again when he is done.
--
-- An event that somebody held and never answered for may have killed its worker. It goes to the suspects' lane, where
-- one event at a time is tried, so that it takes no others with it; after `deaths` such ends it is a dead letter. If the
-- holder was seen since, it is only late (the store stalled, or a reply was lost): the event is claimed again as if
-- nothing had been, a few times.
--
-- KEYS[1] waiting   zset    the lane
-- KEYS[2] suspects  zset    the suspects' lane
-- KEYS[3] rung      string  the lane's wake-up, taken now
-- KEYS[4] dead      zset
-- KEYS[5] counters  hash
-- KEYS[6] audit     stream  gets an entry for an operator's act that is given up on
-- KEYS[7] mark      string  what time it was (`_moment.lua`)
-- KEYS[8] overflow  zset    the lane for what one owner has too much of; the lane itself, if that stays where it is
-- KEYS[9] sibling   zset    the lane in which others of the same owner's may be under way, too
-- ARGV[1] prefix of the events' keys, in the same slot
-- ARGV[2] lane
-- ARGV[3] suspects' lane
-- ARGV[4] worker
-- ARGV[5] lease, µs
-- ARGV[6] how many at most
-- ARGV[7] deaths that make a dead letter
-- ARGV[8] by how much those that go before others do, µs
-- ARGV[9] name of the overflow
-- ARGV[10] how many of one owner at most; 0: it does not matter
-- ARGV[11] how far down the lane to look for more of the same
-- ARGV[12] 1: the workers that live are named; ARGV[13..] their names
-- Returns {now, more, suspects, overflowed, id, attempts, id, attempts, ...}: more is 1 if others are due, suspects the number
-- sent there, overflowed is 1 if something is due there and nobody is at it. Where it matters which workers live, and none were
-- named, suspects is -1 and nothing is claimed.
redis.call('DEL', KEYS[3])
local now = moment(KEYS[7])
local until_ = string.format('%.0f', now + tonumber(ARGV[5]))
local limit = tonumber(ARGV[6])
local border = string.format('%.0f', now - tonumber(ARGV[8]) / 2)
local first = math.max(1, limit - math.floor(limit / 4))
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', border, 'LIMIT', 0, first)
local others = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. border, string.format('%.0f', now), 'LIMIT', 0, limit - #ids + 1)
local full = #ids == first
for i = 1, #others do
  ids[#ids + 1] = others[i]
end
local reply = {string.format('%.0f', now), (#ids > limit or full) and 1 or 0, 0, 0}

local share, seen, busy, moved, going = tonumber(ARGV[10]), {}, {}, {}, {}
local moves = KEYS[8] ~= KEYS[1]

-- Of an event: its owner, its policy, who holds it; and attempts, lane, act, and where its answer is awaited.
local function read(id)
  return redis.call('HMGET', ARGV[1] .. id, 'owner', 'policy', 'held_by', 'attempts', 'lane', 'act', 'awaited')
end

-- Whose an event is, as far as it says so, and who holds it.
local function whose(known)
  return known[1] or known[2], known[3]
end

local function move(id)
  if not going[id] then
    going[id] = true
    moved[#moved + 1] = redis.call('ZSCORE', KEYS[1], id)
    moved[#moved + 1] = id
  end
end

local function overflows(who)
  return moves and (busy[who] == 'there' or (seen[who] or 0) >= share)
end

-- Whether it is this worker's to take. What somebody held when he ended is; what is not stays, or goes to the overflow.
local function takes(id, known)
  local who, holder = whose(known)
  if not who or holder then
    return true
  end
  if overflows(who) then
    move(id)
    return false
  end
  seen[who] = (seen[who] or 0) + 1
  return seen[who] <= share and not busy[who]
end

-- Whose events others have now: in this lane, or in its sibling. Returns whether anybody has any.
local function look(lane, where)
  local attended = false
  local held = redis.call('ZRANGEBYSCORE', lane, '(' .. reply[1], until_, 'LIMIT', 0, 256)
  for i = 1, #held do
    local who, holder = whose(read(held[i]))
    attended = attended or holder
    if who and holder then
      busy[who] = where
      if where == 'here' then
        seen[who] = (seen[who] or 0) + 1
      end
    end
  end
  return attended
end

local attended = false
if share > 0 and #ids > 0 then
  look(KEYS[1], 'here')
end
if share > 0 and (#ids > 0 or moves) then
  attended = look(KEYS[9], 'there')
end
local chosen, events, held = {}, {}, false
for i = 1, math.min(#ids, limit) do
  local known = read(ids[i])
  if share == 0 or takes(ids[i], known) then
    chosen[#chosen + 1], events[#chosen + 1] = ids[i], known
    held = held or known[3]
  end
end

if #moved > 0 then
  local further = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', reply[1], 'LIMIT', math.min(#ids, limit), tonumber(ARGV[11]))
  for i = 1, #further do
    local who, holder = whose(read(further[i]))
    if who and not holder and overflows(who) then
      move(further[i])
    end
  end
  -- From here on it writes: no event is read any more, whose key may be on its way to another node.
  for i = 2, #moved, 2 do
    redis.call('ZREM', KEYS[1], moved[i])
    redis.call('HSET', ARGV[1] .. moved[i], 'lane', ARGV[9])
  end
  redis.call('ZADD', KEYS[8], unpack(moved))
end
-- Whoever has nothing left of an owner makes way for what overflowed, unless somebody is at it and goes on by himself.
if moves and not attended then
  reply[4] = #redis.call('ZRANGEBYSCORE', KEYS[8], '-inf', reply[1], 'LIMIT', 0, 1)
end

if ARGV[12] ~= '1' and held then
  reply[3] = -1
  return reply
end
local living = {}
for i = 13, #ARGV do
  living[ARGV[i]] = true
end

local leased = {}
for i = 1, #chosen do
  local id, key = chosen[i], ARGV[1] .. chosen[i]
  local _, _, holder, attempts, lane, act, awaited = unpack(events[i], 1, 7)
  local deaths, lost = 0, false
  if holder then
    lost = not living[holder] or redis.call('HINCRBY', key, 'late', 1) > tonumber(ARGV[7])
    redis.call('HDEL', key, 'held_by')
    if lost then
      deaths = redis.call('HINCRBY', key, 'deaths', 1)
      redis.call('HSET', key, 'lost:' .. attempts, string.format('%.0f', now) .. ' ' .. holder)
    end
  end
  if not lane and redis.call('EXISTS', key) == 0 then
    redis.call('ZREM', KEYS[1], id)
  elseif deaths >= tonumber(ARGV[7]) then
    redis.call('ZREM', KEYS[1], id)
    redis.call('ZADD', KEYS[4], string.format('%.0f', now), id)
    redis.call('HSET', key, 'error', 'WorkerLost', 'message',
      'the worker that held this event ended ' .. deaths .. ' times without an answer; the last was ' .. holder)
    redis.call('HINCRBY', KEYS[5], 'dead:WorkerLost', 1)
    if awaited then
      redis.call('PUBLISH', awaited, id)
    end
    if act then
      redis.call('XADD', KEYS[6], '*', 'act', act, 'outcome', 'failed: WorkerLost')
    end
  elseif lost and ARGV[2] ~= ARGV[3] then
    redis.call('ZREM', KEYS[1], id)
    redis.call('ZADD', KEYS[2], string.format('%.0f', now), id)
    redis.call('HSET', key, 'lane', ARGV[3])
    reply[3] = reply[3] + 1
  else
    local attempt = string.format('%.0f', tonumber(attempts or '0') + 1)
    redis.call('HSET', key, 'held_by', ARGV[4], 'attempts', attempt)
    leased[#leased + 1] = until_
    leased[#leased + 1] = id
    reply[#reply + 1] = id
    reply[#reply + 1] = attempt
  end
end
if #leased > 0 then
  redis.call('ZADD', KEYS[1], unpack(leased))
end
return reply
