-- What is remembered of some scopes, out of all that is remembered of their keeper. Of a few, the server looks for each: most
-- is not wanted, and to hand it over, be it to this script, takes longer than to find what is. Of many, it looks at all once.
--
-- KEYS[1] observed  hash  subject → date, blank, fact
-- ARGV              the scopes; no character of theirs means anything in a pattern
-- Returns {subject, date and fact, ...}; a subject may be named twice.
local FEW = 16
local found = {}

if #ARGV <= FEW then
  for i = 1, #ARGV do
    local cursor = '0'
    repeat
      local page = redis.call('HSCAN', KEYS[1], cursor, 'MATCH', ARGV[i] .. ' *', 'COUNT', 10000)
      cursor = page[1]
      for j = 1, #page[2] do
        found[#found + 1] = page[2][j]
      end
    until cursor == '0'
  end
  return found
end

local wanted = {}
for i = 1, #ARGV do
  wanted[ARGV[i]] = true
end
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  if wanted[string.match(all[i], '^[^ ]*')] then
    found[#found + 1] = all[i]
    found[#found + 1] = all[i + 1]
  end
end
return found
