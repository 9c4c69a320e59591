-- due: enqueues jobs whose start time or retry has come.
--
-- KEYS[1]  due      zset    bl:due
-- ARGV[1]  now      ms; 0 = Redis TIME
-- ARGV[2]  most     jobs to look at
--
-- Returns {now, queue, ...}  the queues that want a doorbell
--         {-1}  not ready
if not ready() then return {-1} end
local now = clock(ARGV[1])
whole(ARGV[2])
local queues = {now}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', num(now), 'LIMIT', 0, ARGV[2])) do
  redis.call('ZREM', KEYS[1], id)
  local job = read_or_set_aside('due', id, now)
  if job then wait_no_longer(job) end
  if job and not job.waits and (job.status == 'scheduled' or job.status == 'queued') then
    unset(job, 'retry_ms')
    enter_line(job, now)
    if job.status == 'scheduled' then event(job, 'queued') end
    if not wake(job.queue, now) then queues[#queues + 1] = job.queue end
  end
end
return queues
