-- forget: deletes an ended job's record, journals that, and puts its folder in the bucket on the trash list.
--
-- KEYS[1]  job      hash    bl:job:<id>
-- KEYS[2]  index    zset    bl:jobs:<tenant>
-- KEYS[3+] uploads  set     bl:upload:<tenant>/<id> of each upload that the job names
-- ARGV[1]  now      ms; 0 = Redis TIME
-- ARGV[2]  id
-- ARGV[3]  tenant
--
-- Returns 1  forgotten, now or before while its folder is on the trash list
--         0  the tenant has no such job
--         2  the job has not ended
--         3  a job that has not ended names it as a source
--         -1  not ready
if not ready() then return -1 end
local now = clock(ARGV[1])
local job = fields(ARGV[2])
if not job then error('its key is of another type', 0) end
local prefix = 'tenants/' .. ARGV[3] .. '/jobs/' .. ARGV[2] .. '/'
if not job.id then return redis.call('ZSCORE', 'bl:trash', prefix) and 1 or 0 end
if job.tenant ~= ARGV[3] then return 0 end
if not job.ended_ms then return 2 end
if job.needed and redis.call('EXISTS', chains.key(job.tenant, job.id)) == 1 then return 3 end
redis.call('DEL', KEYS[1])
if job.webhook then owed.forget('webhook', job.tenant, job.id, now) end
if job.delivery then owed.forget('delivery', job.tenant, job.id, now) end
charge('bl:held', job.tenant, job.id, 0)
beside(job, 'ZREM', KEYS[2], job.id)
for _, key in ipairs({'bl:retained', 'bl:whole', 'bl:dead:' .. job.tenant}) do beside(job, 'ZREM', key, job.id) end
for i = 3, #KEYS do beside(job, 'SREM', KEYS[i], job.id) end
redis.call('ZADD', 'bl:trash', num(now), prefix)
redis.call('XADD', 'bl:journal', '*', 'type', 'forgotten', 'id', job.id, 'tenant', job.tenant)
return 1
