-- Let a policy leave a partition for another: whoever looks for it here finds where it goes, and that it is nothing here.
--
-- In place of its record stands the whole step that takes it there. Whoever finds that finishes it: the step is committed
-- there, the directory says so, and what stands here goes (`left.lua`). It is due, so the clock does if nobody else. Until then
-- the policy is in no partition, and closed.
--
-- KEYS[1] record    string
-- KEYS[2] due       zset
-- KEYS[3] settings  hash    `epoch`, if it is not 1
-- KEYS[4] revisions hash    policy id → its last revision; from here on the stamp of the step: nothing earlier comes back
-- then one key for each operation
-- ARGV[1] epoch that the step was decided in: in another one, nothing is written
-- ARGV[2] stamp that was read; empty: there was no record
-- ARGV[3] policy id
-- ARGV[4] what stands in place of the record: `moved <partition> <stamp> <step>`
-- ARGV[5] the step's stamp
-- then for each operation: code, unview (HDEL) or remove (ZREM)
-- Returns 1; 0 if the stamp was another; the epoch as a negative number if that is another one; or a key that is of another
-- type than it should be.
local epoch = tonumber(redis.call('HGET', KEYS[3], 'epoch') or '1')
if epoch ~= tonumber(ARGV[1]) then
  return -epoch
end
local found = redis.call('MGET', KEYS[1])[1]
if not found and redis.call('EXISTS', KEYS[1]) == 1 then
  return KEYS[1]
end
if found == ARGV[4] then
  return 1
end
if ARGV[2] == '' and (found or redis.call('HEXISTS', KEYS[4], ARGV[3]) == 1) then
  return 0
end
if ARGV[2] ~= '' and not (found and string.match(found, '^[%d.]+') == ARGV[2]) then
  return 0
end
for i = 5, #KEYS do
  local reply = redis.pcall(ARGV[i + 1] == 'unview' and 'HDEL' or 'ZREM', KEYS[i], ARGV[3])
  if type(reply) == 'table' and reply.err then
    return KEYS[i]
  end
end
redis.call('HSET', KEYS[4], ARGV[3], ARGV[5])
redis.call('ZADD', KEYS[2], 0, ARGV[3])
redis.call('SET', KEYS[1], ARGV[4])
return 1
