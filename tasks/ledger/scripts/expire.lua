-- expire: jobs whose clock ran out before they ran: expired if never started, else failed.
--
-- A running attempt is its worker's to end (the worker sees the deadline in `renew`); it is looked at again later.
--
-- KEYS[1]  expiries zset    bl:expiries
-- ARGV[1]  now      ms; 0 = Redis TIME
-- ARGV[2]  how many at most, [3] error JSON of one that was started before
--
-- Returns {now, id, ...} the jobs ended; {-1} not ready.
if not ready() then return {-1} end
local now = clock(ARGV[1])
whole(ARGV[2])
document(ARGV[3])
local ended = {now}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', num(now), 'LIMIT', 0, ARGV[2])) do
  local job = one_of('expire', id, now)
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
