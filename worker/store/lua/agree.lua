-- Whether the events of a batch agree with what was said under their ids before, and with each other. If not, the batch is
-- refused: `put`, which follows in the same transaction, takes none of them.
--
-- KEYS[1] refused  string  exists for a while if the batch is refused
-- then for each event:
--   mark          string  as in `put`
--   newer, older  hash    its shelf in the ledger, as in `put`
-- ARGV for each event: a digest of what it says, and its field in the ledger
-- Returns the places in the batch, from 0, of the events that contradict: what is known, or one another.
local said, first, contrary, reply = {}, {}, {}, {}

-- What was said under this id before, if anything was.
local function known(mark, newer, older, field)
  local waits = redis.call('GET', mark)
  if waits then
    return string.sub(waits, 2)
  end
  local entry = redis.call('HGET', newer, field) or redis.call('HGET', older, field)
  return entry and string.byte(entry) >= 16 and string.byte(entry) % 4 > 0 and string.sub(entry, 6, 21)
end

for i = 1, #ARGV / 2 do
  local mark, told, field = KEYS[i * 3 - 1], ARGV[i * 2 - 1], ARGV[i * 2]
  if not said[mark] then
    local before = known(mark, KEYS[i * 3], KEYS[i * 3 + 1], field)
    said[mark] = before or told
    first[mark] = not before and i
  end
  if said[mark] ~= told then
    contrary[i] = true
    contrary[first[mark] or i] = true
  end
end
for i = 1, #ARGV / 2 do
  if contrary[i] then
    reply[#reply + 1] = i - 1
  end
end
if #reply > 0 then
  redis.call('SET', KEYS[1], '', 'PX', 60000)
end
return reply
