-- Note on events of one partition what came of them, where that is in another partition.
--
-- KEYS for each revision: the event, hash
-- ARGV for each: `<policy id>@<revision>`, newline
for i = 1, #KEYS do
  came(KEYS[i], ARGV[i])
end
return 1
