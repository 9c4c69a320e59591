-- sweep: takes back attempts whose lease has lapsed: a retry, or the end; renews the permission of submits, bl:room.
--
-- After a gap between sweeps (over two periods, and over half a lease) it takes nothing for one lease: workers could not
-- renew meanwhile. A shorter gap lapses no lease that was renewed before it.
-- A lapsed lease means that the whole worker is gone, seldom by a job's fault. So a job is a suspect, which runs alone,
-- only before its last attempt; else many of them would queue up to run alone.
--
-- KEYS[1]  leases   zset    bl:leases:<pool>
-- KEYS[2]  swept    hash    bl:swept:<pool>
-- ARGV[1]  now      ms; 0 = Redis TIME
-- ARGV[2]  lease    ms
-- ARGV[3]  period   ms between two sweeps
-- ARGV[4]  most     jobs to look at
-- ARGV[5]  error    JSON
--
-- Returns {now, queue, ...}  the queues that got a job back
--         {-1}  not ready
if not ready() then return {-1} end
local now, lease, period = clock(ARGV[1]), number(ARGV[2]), number(ARGV[3])
whole(ARGV[4])
document(ARGV[5])
local seen = redis.call('HMGET', KEYS[2], 'at', 'hold')
local hold = tonumber(seen[2] or 0)
local gap = math.max(2 * period, lease / 2)
if not seen[1] or now - tonumber(seen[1]) > gap then hold = now + lease end
redis.call('HSET', KEYS[2], 'at', num(now), 'hold', num(hold))
-- The permission that spares each submit an INFO: memory is far from full, and will be so for 5 s.
local used, most = memory()
if most == 0 or used < 0.75 * most then redis.call('SET', 'bl:room', num(most), 'PX', 5000) end
local queues = {now}
if now < hold then return queues end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', num(now), 'LIMIT', 0, ARGV[4])) do
  local job = read_or_set_aside('sweep', id, now)
  if job and job.token then
    local token, suspected = job.token, job.suspect
    local word, left = fail_attempt(job, ARGV[5], true, 0, now)
    if word == 'queued' then
      if not suspected and left > 1 then unset(job, 'suspect') end
      queues[#queues + 1] = job.queue
    end
    set(job, 't:' .. token, 'lost')
  else
    redis.call('ZREM', KEYS[1], id)
  end
end
return queues
