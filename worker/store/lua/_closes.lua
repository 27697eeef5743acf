-- Put before every script that calls `closes`: whether a switch closes a policy.
--
-- switches      hash    of the partition: scope → the switch
-- first, count  where ARGV has the scopes of the policy, of which there may be none
local function closes(switches, first, count)
  if count == 0 then
    return false
  end
  for _, switch in ipairs(redis.call('HMGET', switches, unpack(ARGV, first, first + count - 1))) do
    if switch then
      return true
    end
  end
  return false
end

