-- Place some policies' views where settings and switches of their partition put them now: under the first version's keys or
-- under the second's. A commit does the same to what it writes, so a policy that was written meanwhile is right already.
--
-- KEYS[1] placing   hash    index → where placing has come to; gone at its end
-- KEYS[2] changes   stream
-- KEYS[3] settings  hash    as in `commit.lua`
-- KEYS[4] switches  hash    the same
-- then for each policy: record (string), the first version's key and the second's (hash)
-- ARGV[1] index
-- ARGV[2] where it had come to
-- ARGV[3] where it comes to with this, empty: that was all
-- ARGV[4] event, published when nothing is to be placed any more
-- then for each policy: stamp that was read, id, 1 if its view has conditions, n, n scopes of switches that would close it
-- Returns how many views were moved.
local narrowed = redis.call('HGET', KEYS[3], 'views') == '2'
local held = redis.call('EXISTS', KEYS[4]) == 1

local moved, k, a = 0, 5, 5
while a <= #ARGV do
  local stamp, policy, conditional, count = ARGV[a], ARGV[a + 1], ARGV[a + 2], tonumber(ARGV[a + 3])
  local record = redis.call('MGET', KEYS[k])[1]
  if record and string.match(record, '^[%d.]+') == stamp then
    local second = narrowed or conditional == '1' or (held and closes(KEYS[4], a + 4, count))
    local from, to = second and KEYS[k + 1] or KEYS[k + 2], second and KEYS[k + 2] or KEYS[k + 1]
    local view = redis.pcall('HGET', from, policy)
    if type(view) == 'string' then
      local written = redis.pcall('HSET', to, policy, view)
      if type(written) == 'number' then
        redis.call('HDEL', from, policy)
        moved = moved + 1
      end
    end
  end
  k, a = k + 3, a + 4 + count
end

-- Another that was asked for meanwhile begins anew.
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then
  if ARGV[3] ~= '' then
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
  else
    redis.call('HDEL', KEYS[1], ARGV[1])
    if redis.call('EXISTS', KEYS[1]) == 0 then
      redis.call('XADD', KEYS[2], '*', 'event', ARGV[4])
    end
  end
end
return moved
