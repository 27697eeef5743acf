-- What became of events of one partition that were dead letters once.
--
-- KEYS[1] dead  zset
-- ARGV[1] prefix of the events' keys, in the same slot
-- ARGV[2..] ids
-- Returns for each dead, waiting (in the inbox, to be tried) or settled (not in the inbox any more).
local fates = {}
for i = 2, #ARGV do
  if redis.call('ZSCORE', KEYS[1], ARGV[i]) then
    fates[i - 1] = 'dead'
  else
    fates[i - 1] = redis.call('EXISTS', ARGV[1] .. ARGV[i]) == 1 and 'waiting' or 'settled'
  end
end
return fates
