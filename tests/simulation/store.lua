-- A store in this process: the commands that Tenure's scripts and its worker use, and the scripts themselves, unchanged.
-- It is one server, or the nodes of a cluster, which have slots of the keys, and clocks that are told what time it is. What it
-- lacks, it refuses by name, and loudly whatever a cluster would refuse.
--
-- An entry is {kind, value}. Hashes keep the order in which fields came, as small ones of a server do.
local bit = require('bit')
local commands, compiled, reached = {}, {}, {}
-- The nodes, and who has which slots: the first node has those that are not here.
local nodes, owners = {}, {}
-- Of the node that runs a command now: its number, and its own.
local here, clock, data, scripts, history
-- Of what runs now: its slot, and the keys and arguments of the script.
local slot, declared, told
local OK = {ok = 'OK'}

local function refuse(message)
  error(message, 0)
end

-- What the product must not do: nothing of it catches this.
local function misused(message)
  error('MISUSED ' .. message, 0)
end

local function milliseconds()
  return math.floor(clock / 1000)
end

local function find(key)
  local entry = data[key]
  if entry and entry.ends and entry.ends <= milliseconds() then
    data[key] = nil
    return nil
  end
  return entry
end

local function of(kind, key)
  local entry = find(key)
  if entry and entry.kind ~= kind then
    refuse('WRONGTYPE Operation against a key holding the wrong kind of value')
  end
  return entry
end

local function made(kind, key, empty)
  local entry = of(kind, key)
  if not entry then
    entry = empty
    entry.kind = kind
    data[key] = entry
  end
  return entry
end

local function integer(text)
  local number = tonumber(text)
  if not number or number ~= math.floor(number) then
    refuse('ERR value is not an integer or out of range')
  end
  return number
end

local function written(number)
  return string.format(number == math.floor(number) and math.abs(number) < 1e17 and '%.0f' or '%.17g', number)
end

-- A range of places, from 1, of a list of `size`, from two that may count from the end.
local function places(size, first, last)
  first, last = integer(first), integer(last)
  if first < 0 then
    first = math.max(0, size + first)
  end
  if last < 0 then
    last = size + last
  end
  return first + 1, math.min(last + 1, size)
end

-- Slots

local function crc16(text)
  local crc = 0
  for place = 1, #text do
    crc = bit.bxor(crc, bit.lshift(string.byte(text, place), 8))
    for _ = 1, 8 do
      crc = bit.band(bit.bxor(bit.lshift(crc, 1), bit.band(crc, 0x8000) ~= 0 and 0x1021 or 0), 0xffff)
    end
  end
  return crc
end

local slots_of_tags = {}

local slots = setmetatable({}, {__index = function(known, key)
  local tag = string.match(key, '{([^}]+)}') or key
  slots_of_tags[tag] = slots_of_tags[tag] or crc16(tag) % 16384
  known[key] = slots_of_tags[tag]
  return known[key]
end})

-- A script has declared every key that it touches, or was told how those begin.
local function is_declared(key)
  if declared[key] then
    return true
  end
  for _, prefix in ipairs(told) do
    if string.find(prefix, '^tenure:{') and string.sub(key, 1, #prefix) == prefix then
      return true
    end
  end
  return false
end

local function touch(key)
  local found = slots[key]
  if slot and slot ~= found then
    misused('CROSSSLOT ' .. key .. ' is in another slot than the keys before it')
  end
  slot = found
  if declared then
    if not is_declared(key) then
      misused(key .. ' is no key that the script has declared')
    end
  elseif nodes[2] and (owners[found] or 1) ~= here then
    refuse('MOVED ' .. found .. ' ' .. nodes[owners[found] or 1].name)
  end
end

-- Where commands have their keys, if not in their first word alone.
local KEYLESS = {TIME = true, ROLE = true, INFO = true, DBSIZE = true, SCAN = true, PUBLISH = true, CLUSTER = true}
local MANY = {DEL = true, UNLINK = true, EXISTS = true, MGET = true}

local function touch_all(name, words)
  if MANY[name] then
    for _, key in ipairs(words) do
      touch(key)
    end
  elseif name == 'RENAME' or name == 'ZDIFF' then
    touch(words[#words - 1])
    touch(words[#words])
  elseif name == 'XREAD' then
    -- One server reads streams of all slots at once.
    if not nodes[2] then
      return
    end
    local place = 1
    while words[place] ~= 'STREAMS' do
      place = place + 1
    end
    for number = place + 1, place + (#words - place) / 2 do
      touch(words[number])
    end
  elseif name == 'XINFO' then
    touch(words[2])
  elseif not KEYLESS[name] then
    touch(words[1])
  end
end

-- Keys

function commands.TIME()
  local seconds = math.floor(clock / 1e6)
  return {string.format('%.0f', seconds), string.format('%.0f', clock - seconds * 1e6)}
end

function commands.ROLE()
  return {'master', 0, {}}
end

function commands.INFO()
  local mode = nodes[2] and 'cluster' or 'standalone'
  return 'role:master\r\nredis_mode:' .. mode .. '\r\nmaster_replid:' .. history .. '\r\n'
end

-- Of CLUSTER SLOTS, who has which.
function commands.CLUSTER()
  local apart, replies, first = {}, {}, 0
  for each in pairs(owners) do
    apart[#apart + 1] = each
  end
  table.sort(apart)
  apart[#apart + 1] = 16384
  local function add(last, node)
    if first <= last then
      replies[#replies + 1] = {first, last, {nodes[node].host, nodes[node].port}}
      first = last + 1
    end
  end
  for _, each in ipairs(apart) do
    add(each - 1, 1)
    add(math.min(each, 16383), owners[each] or 1)
  end
  return replies
end

function commands.DEL(...)
  local count = 0
  for _, key in ipairs({...}) do
    if find(key) then
      data[key] = nil
      count = count + 1
    end
  end
  return count
end
commands.UNLINK = commands.DEL

function commands.EXISTS(...)
  local count = 0
  for _, key in ipairs({...}) do
    count = count + (find(key) and 1 or 0)
  end
  return count
end

function commands.DBSIZE()
  local count = 0
  for key in pairs(data) do
    count = count + (find(key) and 1 or 0)
  end
  return count
end

local function starts_with(prefix, text)
  return string.sub(text, 1, #prefix) == prefix
end

-- All at once. A pattern is a beginning, in which a star stands for anything but a colon.
function commands.SCAN(_, _, pattern)
  local beginning, found = string.gsub(string.sub(pattern, 1, -2), '[{}%-]', '%%%0'), {}
  beginning = '^' .. string.gsub(beginning, '%*', '[^:]*')
  for key in pairs(data) do
    if find(key) and string.find(key, beginning) then
      found[#found + 1] = key
    end
  end
  table.sort(found)
  return {'0', found}
end

function commands.PEXPIRE(key, after)
  local entry = find(key)
  if entry then
    entry.ends = milliseconds() + integer(after)
  end
  return entry and 1 or 0
end

function commands.PTTL(key)
  local entry = find(key)
  return not entry and -2 or entry.ends and entry.ends - milliseconds() or -1
end

function commands.PERSIST(key)
  local entry = find(key)
  local had = entry and entry.ends
  if had then
    entry.ends = nil
  end
  return had and 1 or 0
end

function commands.RENAME(from, to)
  local entry = find(from)
  if not entry then
    refuse('ERR no such key')
  end
  data[from] = nil
  data[to] = entry
  return OK
end

-- Strings

function commands.GET(key)
  local entry = of('string', key)
  return entry and entry.value or false
end

function commands.MGET(...)
  local replies = {}
  for place, key in ipairs({...}) do
    local entry = find(key)
    replies[place] = entry and entry.kind == 'string' and entry.value or false
  end
  return replies
end

function commands.MSET(...)
  local words = {...}
  for place = 1, #words, 2 do
    data[words[place]] = {kind = 'string', value = words[place + 1]}
  end
  return OK
end

function commands.SET(key, value, ...)
  local options, place, ends, only_new = {...}, 1, nil, false
  while place <= #options do
    if options[place] == 'NX' then
      only_new = true
    elseif options[place] == 'PX' or options[place] == 'EX' then
      ends = milliseconds() + integer(options[place + 1]) * (options[place] == 'EX' and 1000 or 1)
      place = place + 1
    else
      refuse('ERR syntax error')
    end
    place = place + 1
  end
  if only_new and find(key) then
    return false
  end
  data[key] = {kind = 'string', value = value, ends = ends}
  return OK
end

function commands.STRLEN(key)
  local entry = of('string', key)
  return entry and #entry.value or 0
end

function commands.INCRBY(key, by)
  local entry = made('string', key, {value = '0'})
  entry.value = written(integer(entry.value) + integer(by))
  return tonumber(entry.value)
end

-- Hashes

local function field_of(key, field)
  local entry = of('hash', key)
  return entry and entry.value[field] or nil
end

function commands.HSET(key, ...)
  local words = {...}
  if #words == 0 or #words % 2 == 1 then
    refuse("ERR wrong number of arguments for 'hset' command")
  end
  local entry, new = made('hash', key, {value = {}, order = {}}), 0
  for place = 1, #words, 2 do
    if entry.value[words[place]] == nil then
      new = new + 1
      entry.order[#entry.order + 1] = words[place]
    end
    entry.value[words[place]] = words[place + 1]
  end
  return new
end

function commands.HSETNX(key, field, value)
  if field_of(key, field) then
    return 0
  end
  return commands.HSET(key, field, value)
end

function commands.HGET(key, field)
  return field_of(key, field) or false
end

function commands.HMGET(key, ...)
  local replies = {}
  for place, field in ipairs({...}) do
    replies[place] = field_of(key, field) or false
  end
  return replies
end

function commands.HDEL(key, ...)
  local entry, count = of('hash', key), 0
  for _, field in ipairs(entry and {...} or {}) do
    if entry.value[field] ~= nil then
      entry.value[field] = nil
      count = count + 1
      for place, known in ipairs(entry.order) do
        if known == field then
          table.remove(entry.order, place)
          break
        end
      end
    end
  end
  if entry and #entry.order == 0 then
    data[key] = nil
  end
  return count
end

function commands.HEXISTS(key, field)
  return field_of(key, field) and 1 or 0
end

function commands.HLEN(key)
  local entry = of('hash', key)
  return entry and #entry.order or 0
end

function commands.HSTRLEN(key, field)
  return #(field_of(key, field) or '')
end

function commands.HGETALL(key)
  local entry, replies = of('hash', key), {}
  for _, field in ipairs(entry and entry.order or {}) do
    replies[#replies + 1] = field
    replies[#replies + 1] = entry.value[field]
  end
  return replies
end

function commands.HVALS(key)
  local entry, replies = of('hash', key), {}
  for place, field in ipairs(entry and entry.order or {}) do
    replies[place] = entry.value[field]
  end
  return replies
end

function commands.HSCAN(key, _, _, pattern)
  local entry, found, start = of('hash', key), {}, string.sub(pattern, 1, -2)
  for _, field in ipairs(entry and entry.order or {}) do
    if starts_with(start, field) then
      found[#found + 1] = field
      found[#found + 1] = entry.value[field]
    end
  end
  return {'0', found}
end

function commands.HINCRBY(key, field, by)
  local value = integer(field_of(key, field) or '0') + integer(by)
  commands.HSET(key, field, written(value))
  return value
end

-- Lists

function commands.LPUSH(key, ...)
  local entry = made('list', key, {value = {}})
  for _, value in ipairs({...}) do
    table.insert(entry.value, 1, value)
  end
  return #entry.value
end

function commands.RPUSH(key, ...)
  local entry = made('list', key, {value = {}})
  for _, value in ipairs({...}) do
    entry.value[#entry.value + 1] = value
  end
  return #entry.value
end

function commands.LRANGE(key, first, last)
  local entry, replies = of('list', key), {}
  if entry then
    first, last = places(#entry.value, first, last)
    for place = first, last do
      replies[#replies + 1] = entry.value[place]
    end
  end
  return replies
end

function commands.LTRIM(key, first, last)
  local entry = of('list', key)
  if entry then
    entry.value = commands.LRANGE(key, first, last)
    if #entry.value == 0 then
      data[key] = nil
    end
  end
  return OK
end

-- Sorted sets: a table of scores, and the members in order, which is put together when it is asked for.

local function limit(text)
  local open = string.sub(text, 1, 1) == '('
  local number = open and string.sub(text, 2) or text
  number = number == '-inf' and -math.huge or (number == '+inf' or number == 'inf') and math.huge or tonumber(number)
  if not number then
    refuse('ERR min or max is not a float')
  end
  return number, open
end

local function members(entry)
  if not entry.order then
    local scores, order = entry.value, {}
    for member in pairs(scores) do
      order[#order + 1] = member
    end
    table.sort(order, function(a, b)
      return scores[a] < scores[b] or (scores[a] == scores[b] and a < b)
    end)
    entry.order = order
  end
  return entry.order
end

-- The part that `LIMIT` and `WITHSCORES` leave.
local function answered(entry, found, options)
  local replies, scores, first, count, place = {}, false, 0, #found, 1
  while place <= #options do
    if options[place] == 'WITHSCORES' then
      scores = true
    elseif options[place] == 'LIMIT' then
      first, count = integer(options[place + 1]), integer(options[place + 2])
      place = place + 2
    else
      refuse('ERR syntax error')
    end
    place = place + 1
  end
  for n = first + 1, count < 0 and #found or math.min(#found, first + count) do
    replies[#replies + 1] = found[n]
    if scores then
      replies[#replies + 1] = written(entry.value[found[n]])
    end
  end
  return replies
end

function commands.ZADD(key, ...)
  local words, flags, place = {...}, {}, 1
  while words[place] == 'NX' or words[place] == 'XX' or words[place] == 'GT' or words[place] == 'LT' do
    flags[words[place]] = true
    place = place + 1
  end
  local entry, new = of('zset', key), 0
  for n = place, #words, 2 do
    local score, member = limit(words[n]), words[n + 1]
    local old = entry and entry.value[member]
    if old == nil and not flags.XX then
      entry = made('zset', key, {value = {}, size = 0})
      entry.value[member], entry.order, entry.size = score, nil, entry.size + 1
      new = new + 1
    elseif old and not flags.NX and not (flags.GT and score <= old) and not (flags.LT and score >= old) then
      entry.value[member], entry.order = score, nil
    end
  end
  return new
end

function commands.ZREM(key, ...)
  local entry, count = of('zset', key), 0
  for _, member in ipairs(entry and {...} or {}) do
    if entry.value[member] then
      entry.value[member], entry.order, entry.size = nil, nil, entry.size - 1
      count = count + 1
    end
  end
  if entry and entry.size == 0 then
    data[key] = nil
  end
  return count
end

function commands.ZSCORE(key, member)
  local entry = of('zset', key)
  local score = entry and entry.value[member]
  return score and written(score) or false
end

function commands.ZCARD(key)
  local entry = of('zset', key)
  return entry and entry.size or 0
end

local function scored(entry, low, high)
  local found = {}
  local least, above = limit(low)
  local most, below = limit(high)
  for _, member in ipairs(entry and members(entry) or {}) do
    local score = entry.value[member]
    if (score > least or (score == least and not above)) and (score < most or (score == most and not below)) then
      found[#found + 1] = member
    end
  end
  return found
end

function commands.ZCOUNT(key, low, high)
  return #scored(of('zset', key), low, high)
end

function commands.ZRANGEBYSCORE(key, low, high, ...)
  local entry = of('zset', key)
  return answered(entry, scored(entry, low, high), {...})
end

function commands.ZREMRANGEBYSCORE(key, low, high)
  local found = scored(of('zset', key), low, high)
  return #found > 0 and commands.ZREM(key, unpack(found)) or 0
end

function commands.ZRANGE(key, first, last, ...)
  local entry, found = of('zset', key), {}
  if entry then
    local order = members(entry)
    first, last = places(#order, first, last)
    for place = first, last do
      found[#found + 1] = order[place]
    end
  end
  return answered(entry, found, {...})
end

function commands.ZREMRANGEBYRANK(key, first, last)
  local found = commands.ZRANGE(key, first, last)
  return #found > 0 and commands.ZREM(key, unpack(found)) or 0
end

function commands.ZREVRANGE(key, first, last)
  local entry, found = of('zset', key), {}
  if entry then
    local order = members(entry)
    first, last = places(#order, first, last)
    for place = first, last do
      found[#found + 1] = order[#order + 1 - place]
    end
  end
  return found
end

function commands.ZRANGEBYLEX(key, low, high, ...)
  local entry, found = of('zset', key), {}
  local function after(member)
    local text = string.sub(low, 2)
    return low == '-' or (string.sub(low, 1, 1) == '(' and member > text) or (string.sub(low, 1, 1) == '[' and member >= text)
  end
  local function before(member)
    local text = string.sub(high, 2)
    return high == '+' or (string.sub(high, 1, 1) == '(' and member < text) or (string.sub(high, 1, 1) == '[' and member <= text)
  end
  for _, member in ipairs(entry and members(entry) or {}) do
    if after(member) and before(member) then
      found[#found + 1] = member
    end
  end
  return answered(entry, found, {...})
end

function commands.ZDIFF(_, key, without)
  local entry, other, found = of('zset', key), of('zset', without), {}
  for _, member in ipairs(entry and members(entry) or {}) do
    if not (other and other.value[member]) then
      found[#found + 1] = member
    end
  end
  return found
end

-- Channels: nobody listens here.

function commands.PUBLISH(_, _)
  return 0
end

-- Streams

-- Milliseconds and number of an id; one without a number means the first or the last of its millisecond.
local function parts(id, number)
  if id == '-' then
    return 0, 0
  elseif id == '+' then
    return math.huge, math.huge
  end
  local first, second = string.match(id, '^(%d+)-?(%d*)$')
  if not first then
    refuse('ERR Invalid stream ID specified as stream command argument')
  end
  return tonumber(first), tonumber(second) or number
end

local function earlier(id, first_, second_)
  local first, second = parts(id)
  return first < first_ or (first == first_ and second < second_)
end

function commands.XADD(key, id, ...)
  if id == 'MAXLEN' then
    local most, added = ..., commands.XADD(key, select(2, ...))
    commands.XTRIM(key, id, '=', most)
    return added
  end
  local known = of('stream', key) or {last = 0, sequence = 0}
  local first, second = known.last, known.sequence + 1
  if id ~= '*' then
    if not earlier(known.last .. '-' .. known.sequence, parts(id, 0)) then
      refuse('ERR The ID specified in XADD is equal or smaller than the target stream top item')
    end
    first, second = parts(id, 0)
  elseif milliseconds() > first then
    first, second = milliseconds(), 0
  end
  local entry = made('stream', key, {value = {}, added = 0})
  entry.last, entry.sequence, entry.added = first, second, entry.added + 1
  id = string.format('%.0f-%.0f', first, second)
  entry.value[#entry.value + 1] = {id, {...}}
  return id
end

function commands.XRANGE(key, low, high, option, count)
  local entry, replies = of('stream', key), {}
  local open = string.sub(low, 1, 1) == '('
  local first, number = parts(open and string.sub(low, 2) or low, 0)
  if open then
    number = number + 1
  end
  local last, after = parts(high, math.huge)
  local most = option and integer(count) or math.huge
  for _, found in ipairs(entry and entry.value or {}) do
    if #replies < most and not earlier(found[1], first, number) and earlier(found[1], last, after + 1) then
      replies[#replies + 1] = found
    end
  end
  return replies
end

function commands.XREVRANGE(key, high, low, _, count)
  local found, replies = commands.XRANGE(key, low, high), {}
  for place = #found, math.max(1, #found - integer(count) + 1), -1 do
    replies[#replies + 1] = found[place]
  end
  return replies
end

-- Nothing is waited for: where nothing is there, the time to wait has passed.
function commands.XREAD(...)
  local words, place, most, replies = {...}, 1, math.huge, {}
  while words[place] ~= 'STREAMS' do
    if words[place] == 'COUNT' then
      most = integer(words[place + 1])
    end
    place = place + 2
  end
  local streams = (#words - place) / 2
  for number = 1, streams do
    local key = words[place + number]
    local found = commands.XRANGE(key, '(' .. words[place + streams + number], '+', most ~= math.huge and 'COUNT', most)
    if #found > 0 then
      replies[#replies + 1] = {key, found}
    end
  end
  return #replies > 0 and replies or false
end

function commands.XTRIM(key, kind, about, limit_)
  local entry, gone = of('stream', key), 0
  if about ~= '=' and about ~= '~' then
    refuse('ERR syntax error')
  end
  local first, number
  if kind == 'MINID' then
    first, number = parts(limit_, 0)
  end
  while entry and entry.value[1] do
    if kind == 'MINID' and not earlier(entry.value[1][1], first, number) then
      break
    elseif kind == 'MAXLEN' and #entry.value <= integer(limit_) then
      break
    end
    table.remove(entry.value, 1)
    gone = gone + 1
  end
  return gone
end

-- That part of it which a mirror reads.
function commands.XINFO(_, key)
  local entry = of('stream', key)
  if not entry then
    refuse('ERR no such key')
  end
  return {
    'length', #entry.value, 'last-generated-id', string.format('%.0f-%.0f', entry.last, entry.sequence),
    'entries-added', entry.added, 'first-entry', entry.value[1] or false, 'last-entry', entry.value[#entry.value] or false,
  }
end

-- Scripts

local function call(name, ...)
  local command = commands[name]
  if not command then
    misused('the simulated store has no ' .. tostring(name))
  end
  local words = {...}
  for place, word in ipairs(words) do
    if type(word) == 'number' then
      words[place] = string.format('%.17g', word)
    end
  end
  touch_all(name, words)
  return command(unpack(words))
end

local function pcall_(...)
  local done, reply = pcall(call, ...)
  if done then
    return reply
  elseif string.find(tostring(reply), 'MISUSED ', 1, true) then
    error(reply, 0)
  end
  return {err = tostring(reply)}
end

redis = {call = call, pcall = pcall_}

local function run_script(words)
  local script, count, keys, arguments = scripts[words[2]], tonumber(words[3]), {}, {}
  if not script then
    refuse('NOSCRIPT No matching script')
  end
  local names = {}
  for place = 4, #words do
    if place < 4 + count then
      if words[place] ~= '' then
        touch(words[place])
      end
      names[words[place]] = true
      keys[#keys + 1] = words[place]
    else
      arguments[#arguments + 1] = words[place]
    end
  end
  declared, told = names, arguments
  return script(keys, arguments)
end

local function copied(value)
  if type(value) ~= 'table' then
    return value
  end
  local copy = {}
  for name, each in pairs(value) do
    copy[name] = copied(each)
  end
  return copy
end

local function enter(number)
  if here ~= number then
    local node = nodes[number]
    here, clock, data, scripts, history = number, node.clock, node.data, node.scripts, node.history
  end
end

return {
  -- One more node, at this address.
  add = function(host, port)
    local number = #nodes + 1
    nodes[number] = {
      host = host, port = port, name = host .. ':' .. port, clock = 0, data = {}, scripts = {}, history = number .. 'a1', lives = 1,
    }
    enter(1)
  end,
  load = function(number, sha, source)
    if not compiled[sha] then
      local script = assert(loadstring(source, sha))
      reached[sha] = reached[sha] or {}
      local surroundings = setmetatable({}, {__index = _G})
      setfenv(script, surroundings)
      compiled[sha] = function(keys, arguments)
        surroundings.KEYS, surroundings.ARGV = keys, arguments
        return script()
      end
    end
    nodes[number].scripts[sha] = compiled[sha]
  end,
  set_clock = function(number, now)
    nodes[number].clock = now
    if here == number then
      clock = now
    end
  end,
  -- A slot is another node's, with all that is in it.
  move = function(key, number)
    local moving = slots[key]
    local from = nodes[owners[moving] or 1]
    owners[moving] = number
    for each, entry in pairs(from.data) do
      if slots[each] == moving and from ~= nodes[number] then
        from.data[each], nodes[number].data[each] = nil, entry
      end
    end
  end,
  owner = function(key)
    return owners[slots[key]] or 1
  end,
  -- Note from now on which lines of scripts run. What is compiled tells nothing, so nothing is.
  watch = function()
    jit.off()
    debug.sethook(function(_, line)
      local lines = reached[debug.getinfo(2, 'S').source]
      if lines then
        lines[line] = true
      end
    end, 'l')
  end,
  reached = function()
    local noted = {}
    for sha, lines in pairs(reached) do
      noted[sha] = {}
      for line in pairs(lines) do
        table.insert(noted[sha], line)
      end
    end
    return noted
  end,
  -- The lines of a script that can run.
  lines = function(source)
    local util, found = require('jit.util'), {}
    local function look(code)
      for place = 1, util.funcinfo(code).bytecodes - 1 do
        found[util.funcinfo(code, place).currentline] = true
      end
      local number = -1
      while util.funck(code, number) do
        if type(util.funck(code, number)) == 'proto' then
          look(util.funck(code, number))
        end
        number = number - 1
      end
    end
    look(assert(loadstring(source)))
    local noted = {}
    for line in pairs(found) do
      table.insert(noted, line)
    end
    return noted
  end,
  -- What is on disk is there again; what was in memory alone is not.
  restart = function(number)
    local node = nodes[number]
    node.scripts, node.lives = {}, node.lives + 1
    node.history = number .. 'a' .. node.lives
    here = nil
    enter(1)
  end,
  -- From now on its replica hears of nothing.
  fall_behind = function(number)
    nodes[number].replica = copied(nodes[number].data)
  end,
  catch_up = function(number)
    nodes[number].replica = nil
  end,
  -- The replica takes its place, with what it has heard of, and begins another history.
  fail_over = function(number)
    local node = nodes[number]
    node.data, node.replica, node.scripts, node.lives = node.replica or node.data, nil, {}, node.lives + 1
    node.history = number .. 'a' .. node.lives
    here = nil
    enter(1)
  end,
  -- What runs next is of one slot, if it is a transaction of a cluster's node.
  begin = function(number)
    enter(number)
    slot = nil
  end,
  run = function(words)
    if not nodes[2] then
      slot = nil
    end
    declared = nil
    if words[1] == 'EVALSHA' then
      return run_script(words)
    end
    return call(unpack(words))
  end,
}
