-- Let one partition follow what switches are to be, and publish what became of them there. Whoever runs it, however often and
-- however late, does what is intended then.
--
-- KEYS[1] intended  hash    scope → intent (`intend.lua`)
-- KEYS[2] switches  hash    scope → the switch, for readers; those that are closed
-- KEYS[3] changes   stream
-- KEYS[4] published string
-- KEYS[5] placing   hash    which policies' views are to be placed anew: index → where that has come to
-- ARGV for each switch: scope, and the index of the policies that it may close here, empty: none
-- Returns how many became others.
local changed = 0
for a = 1, #ARGV, 2 do
  local scope, index = ARGV[a], ARGV[a + 1]
  local intent = redis.call('HGET', KEYS[1], scope)
  local here = redis.call('HGET', KEYS[2], scope)
  if intent then
    local word, switch, event = string.match(intent, '^(%a+)\n([^\n]*)\n([^\n]*)$')
    local wanted = word == 'closed' and switch
    if wanted ~= here then
      if wanted then
        redis.call('HSET', KEYS[2], scope, wanted)
      else
        redis.call('HDEL', KEYS[2], scope)
      end
      redis.call('XADD', KEYS[3], '*', 'event', event)
      redis.call('INCRBY', KEYS[4], 1)
      if index ~= '' then
        redis.call('HSET', KEYS[5], index, '')
      end
      changed = changed + 1
    end
  end
end
return changed
