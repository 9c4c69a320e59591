-- shrink: of an ended job's record what is large goes: its job.json is in the bucket and tells it. A small record is
-- history and counts no longer as the tenant's; a large request that is kept does.
--
-- KEYS[1]  job      hash    bl:job:<id>
-- KEYS[2]  whole    zset    bl:whole, member job id, score ms of its end
-- ARGV[1]  now      ms; 0 = Redis TIME (not used)
-- ARGV[2]  id, [3] fixed JSON without what is large; '' where it stays as it is, [4+] fields that go
--
-- Returns 1 it is small (now or before), 0 there is no such job, or it has not ended, -1 not ready.
if not ready() then return -1 end
local ended = redis.call('HEXISTS', KEYS[1], 'ended_ms')
redis.call('ZREM', KEYS[2], ARGV[2])
if ended == 0 then return 0 end
if ARGV[3] ~= '' then redis.call('HSET', KEYS[1], 'fixed', ARGV[3]) end
if #ARGV > 3 then redis.call('HDEL', KEYS[1], unpack(ARGV, 4)) end
if #ARGV > 3 or ARGV[3] ~= '' then redis.call('HSET', KEYS[1], 'shrunk', 1) end
local tenant, fixed = unpack(redis.call('HMGET', KEYS[1], 'tenant', 'fixed'))
if tenant then take('bl:held', tenant, ARGV[2], fixed and #fixed > 1024 and #fixed or 0) end
return 1
