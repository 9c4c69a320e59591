-- cancel: cancels a waiting job at once; asks a running one to stop.
--
-- KEYS[1]  job      hash    bl:job:<id>
-- ARGV[1]  now      ms; 0 = Redis TIME
-- ARGV[2]  id
-- ARGV[3]  tenant
--
-- Returns {1, status}  canceled or canceling, now or before
--         {0, status}  the job had ended otherwise
--         {2}  the tenant has no such job
--         {-1}  not ready
if not ready() then return {-1} end
local now = clock(ARGV[1])
local job = load(ARGV[2])
if not job or job.tenant ~= ARGV[3] then return {2} end
if job.status == 'scheduled' or job.status == 'queued' then
  finish(job, 'canceled', now)
  return {1, 'canceled'}
end
if job.status == 'running' then
  event(job, 'canceling')
  beside(job, 'LPUSH', 'bl:wake:' .. job.worker, 'cancel')
  redis.call('PEXPIRE', 'bl:wake:' .. job.worker, 5000)
end
if job.status == 'canceling' or job.status == 'canceled' then return {1, job.status} end
return {0, job.status}
