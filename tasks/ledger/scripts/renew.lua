-- renew: extends all leases of a worker; answers the state of each of its slots.
--
-- A row has state running or canceling; or lost, and then nothing behind it: another attempt or none has the job.
--
-- KEYS[1]  slots    hash    bl:slots:<worker>
-- KEYS[2]  worker   hash    bl:worker:<worker>
-- KEYS[3]  leases   zset    bl:leases:<pool>
-- KEYS[4]  workers  zset    bl:workers; those whose leases lapsed are removed
-- ARGV[1]  now      ms; 0 = Redis TIME
-- ARGV[2]  worker   its id
-- ARGV[3]  lease    ms
-- ARGV[4]  draining 1|0
-- ARGV[5+] field, value of what /v1/pools shows of the worker
--
-- Returns {now, {slot, token, id, state, phase, phase_ms, run_ms, deadline_ms, line}, ...}
--         {-1}  not ready
if not ready() then return {-1} end
local now, worker, lease = clock(ARGV[1]), ARGV[2], number(ARGV[3])
if #ARGV % 2 == 1 then error('a field without its value', 0) end
local flat = redis.call('HGETALL', KEYS[1])
redis.call('HSET', KEYS[2], 'draining', ARGV[4], 'seen_ms', num(now), unpack(ARGV, 5))
redis.call('HSETNX', KEYS[2], 'up_ms', num(now))
redis.call('PEXPIRE', KEYS[2], 3600000)
redis.call('ZADD', KEYS[4], num(now + lease), worker)
redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', num(now))
local rows = {now}
if #flat > 0 then redis.call('PEXPIRE', KEYS[1], 3600000) end
for i = 1, #flat, 2 do
  local token, id = string.match(flat[i + 1], '^(%S+) (%S+)$')
  local job = id and id ~= '-' and read_or_set_aside('renew', id, now)
  if job and job.token == token then
    redis.call('ZADD', KEYS[3], num(now + lease), id)
    rows[#rows + 1] = {flat[i], token, id, job.status, job.phase, job.phase_ms, job.run_ms, job.deadline_ms or '', job.line}
  elseif id and id ~= '-' then
    rows[#rows + 1] = {flat[i], token, id, 'lost'}
  end
end
return rows
