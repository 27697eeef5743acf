-- What is remembered of some scopes, out of all that is remembered of their keeper. The server looks for it: most is not
-- wanted, and to hand it over, be it to this script, takes longer than to find what is.
--
-- KEYS[1] observed  hash  subject → date, blank, fact
-- ARGV              the scopes; no character of theirs means anything in a pattern
-- Returns {subject, date and fact, ...}; a subject may be named twice.
local found = {}
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
