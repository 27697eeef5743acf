-- Add an entry to the audit trail, once, also if a reply is lost and the script runs again.
--
-- KEYS[1] audit  stream
-- KEYS[2] once   string  exists if this very entry was written
-- ARGV[1] the act, JSON
-- ARGV[2] outcome
-- ARGV[3] how long to remember that it was written, ms
-- Returns 1, or 0 if it was there.
if not redis.call('SET', KEYS[2], '', 'NX', 'PX', ARGV[3]) then
  return 0
end
redis.call('XADD', KEYS[1], '*', 'act', ARGV[1], 'outcome', ARGV[2])
return 1
