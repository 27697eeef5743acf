-- Commit steps of policies of one partition. Each is whole or not at all: record, view, indexes, due time, history,
-- counters and change event.
--
-- Compare-and-set: a step is made only if the record still has the stamp that was read. So a second run, by a retry, a
-- twin or a worker that was paused, finds another stamp and changes nothing. Nothing is parsed here: records, views and
-- events are opaque texts, since Lua's cjson loses digits of 64-bit ids.
--
-- KEYS[1] changes   stream
-- KEYS[2] due       zset
-- KEYS[3] counters  hash
-- KEYS[4] revisions hash    policy id → its last revision; after it has left, the stamp with which it did (`leave.lua`)
-- KEYS[5] settings  hash    `views` is 2 where every view stands under the second version's keys; `epoch`, if it is not 1
-- KEYS[6] switches  hash    scope → the switch that closes its policies
-- then for each step:
--   record   string
--   history  list
--   one key for each operation
-- ARGV[1] how many entries of its history a policy keeps
-- ARGV[2] epoch that the steps were decided in: in another one, nothing is written
-- then for each step:
--   stamp that was read; empty: there was no record, and the policy is new or arrives from another partition (`leave.lua`);
--     `follows`: the step stands on the one before it of the same policy, and is made if that was made in this run
--   record
--   policy id
--   due time, µs, empty: none
--   change event, empty: nothing is published
--   history entry
--   type of the change
--   state before, empty: none
--   state after
--   when the cause was received, µs, empty: not measured
--   how many operations
--   how many scopes of switches close the policy, if they are set
--   those scopes
--   for each operation: code, text
--     beside: the second version's key of the view that follows, with a text if it has conditions
--     view: HSET policy id → text, under the first version's key or under the second's, and in no other
--     unview: HDEL   add: ZADD   remove: ZREM   delete: DEL   tail: RPUSH to a history
--     note: LPUSH to a history      count: HINCRBY text by 1   own: ZADD text, unless it is there
--     came: noted on the event of the inbox that brought it about, if that is still there
--     trail: the same for an event of another partition, kept here until it is settled: whoever commits it notes it there, too
-- Returns for each step 1; 0 if the stamp was another; the epoch as a negative number if that is another
-- one; or a key of it that is of another type than it should be. The record is written last: such a step is none, though
-- its view may be there already, which is true.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local results, counts = {}, {}
-- What is written once for all steps, at the end of the run: the policies in their order, by each its record, due time and,
-- where there is a new one, revision.
local policies, records, due_times, revisions = {}, {}, {}, {}

local function count(name, by)
  counts[name] = (counts[name] or 0) + by
end

local spoilt

-- Where a reader of the first version must not see it, a view stands under the second version's key, and the feed says
-- there that it is not usable.
local settings = redis.call('HMGET', KEYS[5], 'views', 'epoch')
local narrowed, epoch = settings[1] == '2', tonumber(settings[2] or '1')
local held = redis.call('EXISTS', KEYS[6]) == 1
local second, beside

local function told(event)
  -- In JSON, a quote inside a text is escaped, so this is the member and nothing else.
  return second and string.gsub(event, '"usable":true', '"usable":false,"usable_v2":true', 1) or event
end

-- A key that somebody else wrote is one policy's trouble, and no other's.
local function write(command, key, ...)
  local reply = redis.pcall(command, key, ...)
  if type(reply) == 'table' and reply.err then
    spoilt = spoilt or key
    return 0
  end
  return reply
end

local function note(history, entry)
  if write('LPUSH', history, entry) > tonumber(ARGV[1]) then
    redis.call('LTRIM', history, 0, tonumber(ARGV[1]) - 1)
  end
end

local function operate(key, code, text, policy)
  if code == 'beside' then
    beside, second = key, second or text ~= ''
  elseif code == 'view' then
    write('HSET', second and beside or key, policy, text)
    write('HDEL', second and key or beside, policy)
  elseif code == 'unview' then
    write('HDEL', key, policy)
  elseif code == 'add' then
    write('ZADD', key, 0, policy)
  elseif code == 'remove' then
    write('ZREM', key, policy)
  elseif code == 'delete' then
    redis.call('DEL', key)
  elseif code == 'note' then
    note(key, text)
  elseif code == 'count' then
    write('HINCRBY', key, text, 1)
  elseif code == 'own' then
    write('ZADD', key, 'NX', 0, text)
  elseif code == 'came' and not spoilt then
    came(key, text)
  elseif code == 'trail' then
    write('RPUSH', key, text)
    write('PEXPIRE', key, 345600000)
  elseif code == 'tail' then
    write('RPUSH', key, text)
  end
end

local function publish(event, change, before, after, received)
  redis.call('XADD', KEYS[1], '*', 'event', event)
  count('changes:' .. change, 1)
  if before ~= after then
    if before ~= '' then
      count('state:' .. before, -1)
    end
    count('state:' .. after, 1)
  end
  if received ~= '' then
    local took = math.max(0, now - tonumber(received))
    local bucket = 0
    while bucket < 16 and took > 1000 * 2 ^ bucket do
      bucket = bucket + 1
    end
    count('latency:' .. bucket, 1)
    count('latency:sum', took)
  end
end

local made = {}

-- Where each step begins in KEYS and ARGV; and the records as they were, by key.
local steps, stored = {}, {}
do
  local keys, k, a = {}, 7, 3
  while k <= #KEYS do
    steps[#steps + 1], keys[#keys + 1] = {k, a}, KEYS[k]
    local operations, scopes = tonumber(ARGV[a + 10]), tonumber(ARGV[a + 11])
    k, a = k + 2 + operations, a + 12 + scopes + operations * 2
  end
  -- GET would end the whole run if a key is of another type.
  for i, record in ipairs(redis.call('MGET', unpack(keys))) do
    stored[keys[i]] = record
  end
end

-- A text, or none.
local function text_of(key)
  local found = stored[key]
  if not found and redis.call('EXISTS', key) == 1 then
    spoilt = key
  end
  return found
end

local unnoted = redis.pcall('HLEN', KEYS[4])
unnoted = type(unnoted) == 'table' and KEYS[4] or nil

-- Whether a step still fits what is there. Where nothing may be there, nothing may have been later, either: whoever was late
-- would bring a policy back that has left. What says where a policy went is nothing, if the policy has come back since.
local function fits(stamp, policy, key, record)
  if stamp == 'follows' then
    return made[policy]
  end
  local found = text_of(key)
  if stamp ~= '' then
    return found and string.match(found, '^[%d.]+') == stamp
  end
  local anew = string.match(record, '^[%d.]+')
  local left = found and string.match(found, '^moved %d+ ([%d.]+) ')
  local last = redis.call('HGET', KEYS[4], policy)
  return not spoilt and (not found or (left and later(anew, left))) and (not last or later(anew, last))
end

for _, step in ipairs(steps) do
  local k, a = unpack(step)
  local key, history = KEYS[k], KEYS[k + 1]
  local stamp, record, policy, due, event = unpack(ARGV, a, a + 4)
  local operations, scopes = tonumber(ARGV[a + 10]), tonumber(ARGV[a + 11])
  local from = a + 10 + scopes
  spoilt = unnoted
  made[policy] = epoch == tonumber(ARGV[2]) and fits(stamp, policy, key, record) and not spoilt
  if made[policy] then
    second = narrowed or (held and closes(KEYS[6], a + 12, scopes))
    for i = 1, operations do
      operate(KEYS[k + 1 + i], ARGV[from + i * 2], ARGV[from + 1 + i * 2], policy)
    end
    if event ~= '' then
      note(history, ARGV[a + 5])
    end
    made[policy] = not spoilt
  end
  if made[policy] then
    if event ~= '' or stamp == '' then
      revisions[policy] = string.match(record, '^%d+')
    end
    if not records[policy] then
      policies[#policies + 1] = policy
    end
    records[policy], due_times[policy] = {key, record}, due
    if event ~= '' then
      publish(told(event), unpack(ARGV, a + 6, a + 9))
    end
  end
  results[#results + 1] = spoilt or (made[policy] and 1) or (epoch ~= tonumber(ARGV[2]) and -epoch) or 0
end

local written, dated, undated, noted = {}, {}, {}, {}
for _, policy in ipairs(policies) do
  written[#written + 1], written[#written + 2] = unpack(records[policy])
  if due_times[policy] == '' then
    undated[#undated + 1] = policy
  else
    dated[#dated + 1], dated[#dated + 2] = due_times[policy], policy
  end
  if revisions[policy] then
    noted[#noted + 1], noted[#noted + 2] = policy, revisions[policy]
  end
end
if #written > 0 then
  redis.call('MSET', unpack(written))
end
if #dated > 0 then
  redis.call('ZADD', KEYS[2], unpack(dated))
end
if #undated > 0 then
  redis.call('ZREM', KEYS[2], unpack(undated))
end
-- In the run of the steps: who finds it finds all else of them.
if #noted > 0 then
  redis.call('HSET', KEYS[4], unpack(noted))
end
for name, by in pairs(counts) do
  if by ~= 0 then
    redis.call('HINCRBY', KEYS[3], name, string.format('%.0f', by))
  end
end
return results
