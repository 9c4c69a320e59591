-- shrink: compacts an ended job's record: removes large fields, which job.json in the bucket has.
--
-- A small record is history and is no longer charged to the tenant; large fields that stay are.
--
-- KEYS[1]  job      hash    bl:job:<id>
-- KEYS[2]  whole    zset    bl:whole, job id by the ms of its end
-- ARGV[1]  now      ms; 0 = Redis TIME (not used)
-- ARGV[2]  id
-- ARGV[3]  fixed    JSON without its large parts; '' leaves it
-- ARGV[4+] fields   that are removed
--
-- Returns 1  compacted, now or before
--         0  no such job, or it has not ended
--         -1  not ready
if not ready() then return -1 end
local ended = redis.call('HEXISTS', KEYS[1], 'ended_ms')
redis.call('ZREM', KEYS[2], ARGV[2])
if ended == 0 then return 0 end
if ARGV[3] ~= '' then redis.call('HSET', KEYS[1], 'fixed', ARGV[3]) end
if #ARGV > 3 then redis.call('HDEL', KEYS[1], unpack(ARGV, 4)) end
if #ARGV > 3 or ARGV[3] ~= '' then redis.call('HSET', KEYS[1], 'shrunk', 1) end
local left, held = redis.call('HMGET', KEYS[1], 'tenant', 'fixed', 'result', 'outputs'), 0
for i = 2, 4 do
  if left[i] and #left[i] > 1024 then held = held + #left[i] end
end
if left[1] then charge('bl:held', left[1], ARGV[2], held) end
return 1
