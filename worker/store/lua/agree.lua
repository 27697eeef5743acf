-- Whether the events of a batch agree with what was said under their ids before, and with each other. If not, the batch is
-- refused: `put`, which follows in the same transaction, takes none of them.
--
-- KEYS[1] refused  string  exists for a while if the batch is refused
-- KEYS[2..] marks  string  of each event, as in `put`
-- ARGV a digest of what each of them says
-- Returns the places in the batch, from 0, of the events that contradict: what is known, or one another.
local said, first, contrary, reply = {}, {}, {}, {}
for i = 2, #KEYS do
  local mark = KEYS[i]
  if not said[mark] then
    local known = redis.call('GET', mark)
    said[mark] = known and string.sub(known, 2) or ARGV[i - 1]
    first[mark] = not known and i
  end
  if said[mark] ~= ARGV[i - 1] then
    contrary[i] = true
    contrary[first[mark] or i] = true
  end
end
for i = 2, #KEYS do
  if contrary[i] then
    reply[#reply + 1] = i - 2
  end
end
if #reply > 0 then
  redis.call('SET', KEYS[1], '', 'PX', 60000)
end
return reply
