-- Remember observations, then find the policies that watch their scopes, a page at a time: for several pieces of work of
-- one partition.
--
-- Remembering comes first: a policy that is registered meanwhile reads what is remembered after it has entered the
-- index, so one of the two sees the other. Advice is remembered only where somebody watches; a policy that enters the
-- index later was registered after it.
--
-- A run is bounded by its caller, in pieces, observations and indexes.
--
-- KEYS for each piece of work:
--   for each of its keepers:
--     observed  hash  subject → date, blank, fact
--     order     zset  the same subjects, by their worth and then by their date
--     w indexes zset  if one of them holds anything, somebody watches
--   m indexes   zset  ids of the policies that watch a scope
-- ARGV[1] how long observations are remembered, and a day, ms
-- ARGV[2] how many policies at most for each piece of work
-- ARGV[3] how many subjects of a keeper at most; those that are worth least, and of them the oldest, are forgotten
-- ARGV[4] what is worth less than this is advice
-- then for each piece of work:
--   keepers, m, index to begin with, from 0, id to begin after in that index, or empty
--   for each keeper: w, n
--     for each of n subjects: subject, date, fact as JSON, worth and date as one number
-- Returns for each {index, after, id, id, ...}: where to go on; index is -1 at the end. Where a key is of another type than it
-- should be, {-2, key}.
local advice = tonumber(ARGV[4])
-- The order and the time of expiry follow what is said again and again once a day.
local DAY = 86400 * 1000000
local PROOF = string.byte('=')

-- Whether it is newer than what is known of its subject, and whether the order changes with it. A subject is worth the same
-- whatever is said of it, unless it is one of proofs, which may say this or that.
local function newer(known, subject, stamp, fact)
  local at, space = tonumber(stamp), string.find(known, ' ', 1, true)
  local known_at = tonumber(string.sub(known, 1, space - 1))
  local is = at > known_at or (at == known_at and fact > string.sub(known, space + 1))
  return is, is and (math.floor(at / DAY) ~= math.floor(known_at / DAY) or string.byte(subject, -1) == PROOF)
end

local function remember(k, w, a, n)
  local observed, order = KEYS[k], KEYS[k + 1]
  local watched
  local subjects, places = {}, {}
  for i = 0, n - 1 do
    local place = a + 4 * i
    local kept = tonumber(ARGV[place + 3]) >= advice
    if not kept then
      if watched == nil then
        watched = redis.call('EXISTS', unpack(KEYS, k + 2, k + 1 + w)) > 0
      end
      kept = watched
    end
    if kept then
      subjects[#subjects + 1] = ARGV[place]
      places[#places + 1] = place
    end
  end
  if #subjects == 0 then
    return
  end
  local known = redis.pcall('HMGET', observed, unpack(subjects))
  if known.err then
    return observed
  end
  local facts, scores = {}, {}
  for i = 1, #subjects do
    local place = places[i]
    local is, moves = true, true
    if known[i] then
      is, moves = newer(known[i], subjects[i], ARGV[place + 1], ARGV[place + 2])
    end
    if is then
      facts[#facts + 1] = subjects[i]
      facts[#facts + 1] = ARGV[place + 1] .. ' ' .. ARGV[place + 2]
      if moves then
        scores[#scores + 1] = ARGV[place + 3]
        scores[#scores + 1] = subjects[i]
      end
    end
  end
  if #facts == 0 then
    return
  end
  redis.call('HSET', observed, unpack(facts))
  if #scores == 0 then
    return
  end
  local added = redis.pcall('ZADD', order, unpack(scores))
  if type(added) == 'table' then
    return order
  end
  if added > 0 then
    local surplus = redis.call('ZCARD', order) - tonumber(ARGV[3])
    if surplus > 0 then
      local least = redis.call('ZRANGE', order, 0, surplus - 1)
      redis.call('ZREM', order, unpack(least))
      redis.call('HDEL', observed, unpack(least))
    end
  end
  redis.call('PEXPIRE', observed, ARGV[1])
  redis.call('PEXPIRE', order, ARGV[1])
end

local function find(first, count, position, after)
  local reply, room = {-1, ''}, tonumber(ARGV[2])
  while position < count do
    local from = after == '' and '-' or '(' .. after
    local ids = redis.pcall('ZRANGEBYLEX', KEYS[first + position], from, '+', 'LIMIT', 0, room + 1)
    if ids.err then
      return {-2, KEYS[first + position]}
    end
    for i = 1, math.min(#ids, room) do
      reply[#reply + 1] = ids[i]
    end
    if #ids > room then
      reply[1], reply[2] = position, room > 0 and ids[room] or after
      return reply
    end
    room = room - #ids
    position, after = position + 1, ''
  end
  return reply
end

local replies, k, a = {}, 1, 5
while a <= #ARGV do
  local keepers, m, position, after = tonumber(ARGV[a]), tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2]), ARGV[a + 3]
  a = a + 4
  local spoilt
  for _ = 1, keepers do
    local w, n = tonumber(ARGV[a]), tonumber(ARGV[a + 1])
    spoilt = remember(k, w, a + 2, n) or spoilt
    k, a = k + 2 + w, a + 2 + 4 * n
  end
  replies[#replies + 1] = spoilt and {-2, spoilt} or find(k, m, position, after)
  k = k + m
end
return replies
