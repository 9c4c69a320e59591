-- sweep: attempts whose lease has lapsed are lost: a retry, or the end. Takes nothing for one lease after a gap
-- of two periods and of half a lease: a shorter one makes no lease lapse that was renewed before it.
-- The whole worker has gone then, seldom by the fault of a job: such a job is suspected of it (claim) only when the
-- attempt that comes is its last, so that many of them need not queue up to run alone.
--
-- KEYS[1]  leases   zset    bl:leases:<pool>
-- KEYS[2]  swept    hash    bl:swept:<pool>
-- ARGV[1]  now      ms; 0 = Redis TIME
-- ARGV[2]  lease ms, [3] period ms between two sweeps, [4] how many at most, [5] error JSON
--
-- Returns {now, queue, ...} the queues that got a job back; {-1} not ready.
if not ready() then return {-1} end
local now, lease, period = clock(ARGV[1]), number(ARGV[2]), number(ARGV[3])
whole(ARGV[4])
document(ARGV[5])
local seen = redis.call('HMGET', KEYS[2], 'at', 'hold')
local hold = tonumber(seen[2] or 0)
local gap = math.max(2 * period, lease / 2)
if not seen[1] or now - tonumber(seen[1]) > gap then hold = now + lease end
redis.call('HSET', KEYS[2], 'at', num(now), 'hold', num(hold))
local queues = {now}
if now < hold then return queues end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', num(now), 'LIMIT', 0, ARGV[4])) do
  local job = one_of('sweep', id, now)
  if job and job.token then
    local known, counted = job.suspect, job.starts - (job.releases or 0)
    if fail_attempt(job, ARGV[5], true, 0, now) == 'queued' then
      if not known and counted + 1 < tonumber(job.max) then redis.call('HDEL', 'bl:job:' .. id, 'suspect') end
      queues[#queues + 1] = job.queue
    end
    answer(job, 'lost')
  else
    redis.call('ZREM', KEYS[1], id)
  end
end
return queues
