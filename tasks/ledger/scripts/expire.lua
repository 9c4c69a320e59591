-- expire: ends waiting jobs whose clock ran out: expired if never started, else failed.
--
-- A running attempt is left to its worker, which sees the deadline in `renew`; its job is looked at again 5 s later.
--
-- KEYS[1]  expiries zset    bl:expiries
-- ARGV[1]  now      ms; 0 = Redis TIME
-- ARGV[2]  most     jobs to look at
-- ARGV[3]  error    JSON, for a job that was started before
--
-- Returns {now, id, ...}  the jobs that ended
--         {-1}  not ready
if not ready() then return {-1} end
local now = clock(ARGV[1])
whole(ARGV[2])
document(ARGV[3])
local ended = {now}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', num(now), 'LIMIT', 0, ARGV[2])) do
  local job = read_or_set_aside('expire', id, now)
  if not job then
    redis.call('ZREM', KEYS[1], id)
  elseif job.token then
    redis.call('ZADD', KEYS[1], num(now + 5000), id)
  else
    if job.started_ms then set(job, 'error', ARGV[3]) end
    finish(job, job.started_ms and 'failed' or 'expired', now)
    ended[#ended + 1] = id
  end
end
return ended
