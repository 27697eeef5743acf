-- Note what a switch is to be, and enter it in the audit trail. Each partition follows it (`switch.lua`), and until all of them
-- have it is kept that they have not.
--
-- KEYS[1] intended   hash    scope → intent: `closed` or `opened`, newline, the switch, newline, its event; both JSON
-- KEYS[2] unfinished zset    scopes that some partition may not have heard of
-- KEYS[3] audit      stream
-- KEYS[4] number     string  how many intents there were
-- ARGV[1] scope
-- ARGV[2] intent
-- ARGV[3] how many switches there may be
-- ARGV[4] the act, JSON
-- ARGV[5] outcome
-- ARGV[6] 1: some partition has it, so it can be opened whatever is noted
-- Returns 1, also to the same intent noted again; 0 if there would be too many; or, if it stands so already, the intent that is
-- there, empty: none.
local known = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if known == ARGV[2] then
  return 1
end
local word = string.sub(ARGV[2], 1, 6)
local stands = string.sub(known, 1, 6)
if known == '' then
  stands = word == 'opened' and ARGV[6] == '1' and 'closed' or 'opened'
end
if stands == word then
  return known
end
if word == 'closed' and known == '' and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) then
  return 0
end
redis.call('INCRBY', KEYS[4], 1)
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], 0, ARGV[1])
redis.call('XADD', KEYS[3], '*', 'act', ARGV[4], 'outcome', ARGV[5])
return 1
