-- Note that the store lives on, or find that it went back in time.
--
-- Whoever looks says what was seen of it last. A store that counts less was restored from a backup, or is a server that
-- lacks what was written to the one before: a new epoch begins, once, whoever finds it first.
--
-- KEYS[1] epoch  hash    store: its id, epoch, beats: how often it was noted that it lives; since the last time that it went
--                        back: since, found, and accepted once an operator has opened it again; lost:<partition>: how many
--                        beats of one that went back by itself are known to be lost
-- KEYS[2] mark   string  what time it was when that was last noted (`_moment.lua`), in the store as it is now
-- ARGV[1] id for a store that has none
-- ARGV[2] id of the store that was seen, or empty
-- ARGV[3] its epoch
-- ARGV[4] its beats
-- ARGV[5..] of each partition that counts less than was seen: its number, more beats than anybody saw, when the last was noted
--           that it has
-- Returns {id, epoch, beats, back}: back is 1 if this found that it went back.
local known = redis.call('HMGET', KEYS[1], 'store', 'epoch', 'beats')
local store, epoch, beats = known[1] or ARGV[1], tonumber(known[2] or '1'), tonumber(known[3] or '0')
if not known[1] then
  redis.call('HSET', KEYS[1], 'store', store, 'epoch', '1')
end
local back, noted = beats < tonumber(ARGV[4]), string.match(redis.call('GET', KEYS[2]) or '', '^%d+') or '0'
for i = 5, store == ARGV[2] and #ARGV or 0, 3 do
  local part = 'lost:' .. ARGV[i]
  if tonumber(redis.call('HGET', KEYS[1], part) or '0') + 1000 < tonumber(ARGV[i + 1]) then
    back = true
    redis.call('HSET', KEYS[1], part, ARGV[i + 1])
    noted = tonumber(ARGV[i + 2]) < tonumber(noted) and ARGV[i + 2] or noted
  end
end
if store ~= ARGV[2] or not back then
  return {store, epoch, redis.call('HINCRBY', KEYS[1], 'beats', 1), 0}
end
local now = moment(KEYS[2])
epoch = math.max(epoch, tonumber(ARGV[3])) + 1
-- Others may have seen some beats more than this one has: what they saw is over, too.
beats = math.max(beats, tonumber(ARGV[4])) + 1000
redis.call('HSET', KEYS[1], 'epoch', epoch, 'beats', beats, 'since', noted, 'found', string.format('%.0f', now))
redis.call('HDEL', KEYS[1], 'accepted')
return {store, epoch, beats, 1}
