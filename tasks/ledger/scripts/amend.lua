-- amend: changes priority, start time, clocks or metadata of a job that waits; it keeps its fair tag.
--
-- A job whose start time is put off leaves its line, gives its share back, and gets a new tag when it is due.
--
-- KEYS[1]  job      hash    bl:job:<id>
-- ARGV[1]  now      ms; 0 = Redis TIME
-- ARGV[2]  id
-- ARGV[3]  tenant
-- ARGV[4]  change   id of this change
-- ARGV[5]  base     id of the change before, on which this one builds; '' for none
-- ARGV[6]  fixed    JSON that takes the place of the record's
-- ARGV[7]  priority -10 to 10
-- ARGV[8]  start    ms of another start time, 0 for now; '' leaves it
-- ARGV[9]  queue_ttl ms
-- ARGV[10] longer   ms by which queue_ttl is longer than it was
-- ARGV[11] deadline ms from the submit, or ''
-- ARGV[12] run_timeout ms
-- ARGV[13] retention ms
-- ARGV[14] held     bytes of Redis that the tenant's records may take, a quarter of maxmemory at most; 0 for any number
-- ARGV[15] token    of a keeper that restores, compared in place of the epoch, with no base and no limits; or ''
--
-- Returns {1, bell}  changed, now or before; bell 1: a doorbell is needed
--         {0, status}  the job does not wait
--         {2}  the tenant has no such job
--         {3}  it builds on a change that is not the last
--         {4}  the job has started before: its start time and its time in the queue are over
--         {-2, percent}, {-7, bytes, most}  as submit
--         {-1}  not ready
local restoring = ARGV[15] ~= ''
if not (restoring and fenced(ARGV[15]) or not restoring and ready()) then return {-1} end
local now, start, deadline = clock(ARGV[1]), tonumber(ARGV[8]), tonumber(ARGV[11])
for _, i in ipairs({7, 9, 10, 12, 13, 14}) do number(ARGV[i]) end
for _, i in ipairs({8, 11}) do if ARGV[i] ~= '' then number(ARGV[i]) end end
local job = load(ARGV[2])
if not job or job.tenant ~= ARGV[3] then return {2} end
if job.amended == ARGV[4] then return {1, 0} end
local before, status = job.status, job.status
if before ~= 'scheduled' and before ~= 'queued' then return {0, before} end
if not restoring and (job.amended or '') ~= ARGV[5] then return {3} end
if job.starts and (start or ARGV[10] ~= '0') then return {4} end
local grown = math.max(0, #ARGV[6] - #job.fixed)
local refused = not restoring and refusal(job.tenant, 0, {}, grown, 0, 0, grown > 0 and tonumber(ARGV[14]) or 0)
if refused then return refused end

local later, bell = start and start > now, 0
local start_by = tonumber(job.start_by_ms) + tonumber(ARGV[10])
if later or start and before == 'scheduled' then start_by = math.max(start, now) + tonumber(ARGV[9]) end
local raised = 10 * (tonumber(ARGV[7]) - tonumber(job.priority))
note(job, 'fixed', ARGV[6], 'priority', ARGV[7], 'run_ms', ARGV[12], 'keep_ms', ARGV[13], 'start_by_ms', num(start_by),
  'amended', ARGV[4], 'amended_ms', num(now))
if deadline then note(job, 'deadline_ms', num(tonumber(job.created_ms) + deadline)) else unset(job, 'deadline_ms') end
local over = tonumber(job.deadline_ms)
if not job.starts and not job.waits then over = math.min(start_by, over or start_by) end
if over then redis.call('ZADD', 'bl:expiries', num(over), job.id) else redis.call('ZREM', 'bl:expiries', job.id) end
if start and job.waits then note(job, 'from_ms', num(math.max(start, now)))
elseif start and before == 'scheduled' then
  wait_no_longer(job)
  if later then
    wait_until(job, start)
  else
    enter_line(job, now)
    status, bell = 'queued', wake(job.queue, now) and 0 or 1
  end
elseif later then
  leave_line(job)
  parking.leave(job)
  give_share_back(job)
  if job.cache then same.leave(job, now) end
  unset(job, 'tag', 'place', 'since_ms', 'follows')
  wait_until(job, start)
  status = 'scheduled'
else
  if job.place then note(job, 'place', num(job.place - raised)) end
  if job.parked then redis.call('ZADD', 'bl:parked:' .. job.tenant .. ':' .. job.line, 'XX', job.place, job.id)
  elseif job.tag then redis.call('ZADD', 'bl:line:' .. job.line, 'XX', num(job.tag - 10 * tonumber(job.priority)), job.id) end
end
if status ~= before then event(job, status)
else
  set(job, 'status', status)
  local told = {'id', job.id, 'status', status, 'tenant', job.tenant, 'line', job.line, 'amended', 1, job.batch and 'batch', job.batch}
  redis.call('XADD', 'bl:events', 'MAXLEN', '~', 300000, '*', unpack(told))
end
charge('bl:held', job.tenant, job.id, size_of(job))
redis.call('XADD', 'bl:journal', '*', 'type', 'amended', 'id', job.id, 'tenant', job.tenant, 'change', ARGV[4],
  'fixed', ARGV[6], 'at_ms', num(now))
return {1, bell}
