-- conclude: ends a job that this Redis, having lost its end, holds as living, by the record of its end.
--
-- The keeper calls it while it restores.
--
-- KEYS[1]  job      hash    bl:job:<id>
-- ARGV[1]  now      ms; 0 = Redis TIME
-- ARGV[2]  id
-- ARGV[3]  token    of the keeper that restores, compared in place of the epoch; or ''
-- ARGV[4+] field, value of the record as it ended
--
-- Returns 1  concluded, now or before
--         0  no such job, or it ended otherwise
--         -1  not ready
if not (ARGV[3] == '' and ready() or fenced(ARGV[3])) then return -1 end
if #ARGV % 2 == 0 then error('a field without its value', 0) end
local job, why = read(ARGV[2])
if not job and not why then return 0 end
local ended = {}
for i = 4, #ARGV, 2 do ended[ARGV[i]] = ARGV[i + 1] end
number(ended.ended_ms)
number(ended.retained_ms)
for _, name in ipairs({'status', 'line', 'tenant', 'fixed'}) do
  if not ended[name] then error('a record without its ' .. name, 0) end
end
if job and job.ended_ms then return job.ended_ms == ended.ended_ms and 1 or 0 end
if job then
  leave_line(job)
  parking.leave(job)
  parking.ended(job, clock(ARGV[1]))
  wait_no_longer(job)
  if job.sources then chains.leave(job) end
  if job.cache then same.leave(job, clock(ARGV[1])) end
end
leave_indexes(ARGV[2], ended)
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], unpack(ARGV, 4))
local before, needed = job and job.status, job and job.needed
job = fields(ARGV[2])
charge('bl:held', job.tenant, job.id, size_of(job))
index_end(job)
if job.cited then same.list(job) end
local status = job.status
job.status = before
event(job, status)
if needed then
  set(job, 'needed', 1)
  redis.call('ZADD', 'bl:settling', num(clock(ARGV[1])), job.tenant .. '/' .. job.id)
end
return 1
