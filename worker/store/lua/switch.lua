-- Let one partition follow what switches are to be, and publish what became of them there. Whoever runs it, however often and
-- however late, does nothing that is less new than what the partition has followed.
--
-- KEYS[1] followed  string  the number of the newest intent that was known to whoever was followed
-- KEYS[2] switches  hash    scope → the switch, for readers; those that are closed
-- KEYS[3] changes   stream
-- KEYS[4] placing   hash    which policies' views are to be placed anew: index → where that has come to
-- ARGV[1] the number of the newest intent when these were read (`intend.lua`)
-- ARGV then for each switch: scope, its intent, empty: none, and the index of the policies that it may close here, empty: none
-- Returns 1; or, if something newer was followed, the number of that as a negative one: nothing was done.
local followed = tonumber(redis.call('GET', KEYS[1]) or '0')
if followed > tonumber(ARGV[1]) then
  return -followed
end
redis.call('SET', KEYS[1], ARGV[1])
for a = 2, #ARGV, 3 do
  local scope, intent, index = ARGV[a], ARGV[a + 1], ARGV[a + 2]
  local here = redis.call('HGET', KEYS[2], scope)
  if intent ~= '' then
    local word, switch, event = string.match(intent, '^(%a+)\n([^\n]*)\n([^\n]*)$')
    local wanted = word == 'closed' and switch
    if wanted ~= here then
      if wanted then
        redis.call('HSET', KEYS[2], scope, wanted)
      else
        redis.call('HDEL', KEYS[2], scope)
      end
      redis.call('XADD', KEYS[3], '*', 'event', event)
      if index ~= '' then
        redis.call('HSET', KEYS[4], index, '')
      end
    end
  end
end
return 1
