-- renew: extends all leases of a worker; answers the state of each of its slots.
--
-- A row has state running or canceling; or lost, and then nothing behind it: another attempt or none has the job.
-- A slot's record is read whole in one second of ten, which finds one that cannot be read; else the fields that are answered.
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
local function look(slot, id)
  local at = {}
  if (math.floor(now / 1000) + slot) % 10 ~= 0 then
    at = redis.pcall('HMGET', 'bl:job:' .. id, 'token', 'status', 'phase', 'phase_ms', 'run_ms', 'deadline_ms', 'line')
  end
  local is_whole = at[1] and at[2] and at[3] and tonumber(at[4]) and tonumber(at[5]) and tonumber(at[6] or 0) and at[7]
  if is_whole then return at[1], {at[2], at[3], at[4], at[5], at[6] or '', at[7]} end
  local job = read_or_set_aside('renew', id, now)
  if job then return job.token, {job.status, job.phase, job.phase_ms, job.run_ms, job.deadline_ms or '', job.line} end
end
local leases, until_ms = {}, num(now + lease)
for i = 1, #flat, 2 do
  local token, id = string.match(flat[i + 1], '^(%S+) (%S+)$')
  if id and id ~= '-' then
    local known, told = look((i + 1) / 2, id)
    local is_mine = known == token
    if is_mine then
      leases[#leases + 1] = until_ms
      leases[#leases + 1] = id
    end
    rows[#rows + 1] = {flat[i], token, id, unpack(is_mine and told or {'lost'})}
  end
end
if #leases > 0 then redis.call('ZADD', KEYS[3], unpack(leases)) end
return rows
