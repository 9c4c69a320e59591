-- shrink: compacts an ended job's record: removes large fields, which job.json in the bucket has.
--
-- A small record is history and is no longer charged to the tenant; a large `fixed` that stays is.
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
local tenant, fixed = unpack(redis.call('HMGET', KEYS[1], 'tenant', 'fixed'))
if tenant then charge('bl:held', tenant, ARGV[2], fixed and #fixed > 1024 and #fixed or 0) end
return 1
