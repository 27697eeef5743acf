-- Whether events of a batch that are of one partition agree with what was said under their ids before, and with each other. If
-- they do, their ids are reserved for the batch: until it is put, nobody says something else under one of them.
--
-- KEYS for each event:
--   mark          string  as in `put`
--   reserved      string  a digest of what it says, and the batch that it is reserved for
--   newer, older  hash    its shelf in the ledger, as in `put`
-- ARGV[1] batch
-- ARGV[2] how long an id is reserved, ms
-- then for each event: a digest of what it says, and its field in the ledger
-- Returns the places in ARGV, from 0, of the events that contradict: what is known, or one another. Then none is reserved.
local said, first, contrary, reply = {}, {}, {}, {}

-- What was said under this id before, if anything was.
local function known(k, field)
  local waits = redis.call('GET', KEYS[k])
  if waits then
    return string.sub(waits, 2)
  end
  local reserved = redis.call('GET', KEYS[k + 1])
  if reserved then
    return string.sub(reserved, 1, 16)
  end
  local entry = redis.call('HGET', KEYS[k + 2], field) or redis.call('HGET', KEYS[k + 3], field)
  return entry and string.byte(entry) >= 16 and string.byte(entry) % 4 > 0 and string.sub(entry, 6, 21)
end

local count = #KEYS / 4
for i = 1, count do
  local mark, told, field = KEYS[i * 4 - 3], ARGV[i * 2 + 1], ARGV[i * 2 + 2]
  if not said[mark] then
    local before = known(i * 4 - 3, field)
    said[mark] = before or told
    first[mark] = not before and i
  end
  if said[mark] ~= told then
    contrary[i] = true
    contrary[first[mark] or i] = true
  end
end
for i = 1, count do
  if contrary[i] then
    reply[#reply + 1] = i - 1
  end
end
if #reply == 0 then
  for i = 1, count do
    redis.call('SET', KEYS[i * 4 - 2], ARGV[i * 2 + 1] .. ARGV[1], 'NX', 'PX', ARGV[2])
  end
end
return reply
