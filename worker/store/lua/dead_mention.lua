-- Whether the body of an event holds a text. A large one is in a key of its own, and not looked through here.
--
-- KEYS[1] event  hash
-- ARGV[1] text
-- Returns 1 or 0, or the key of its body.
local bulk = redis.call('HGET', KEYS[1], 'bulk')
if bulk then
  return bulk
end
return string.find(redis.call('HGET', KEYS[1], 'body') or '', ARGV[1], 1, true) and 1 or 0
