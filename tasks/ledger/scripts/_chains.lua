-- _chains: jobs that name other jobs as sources: they wait for them and keep them from being erased; stands behind _aside.
--
-- A record's `sources` has the ids of the jobs that it names, `waits` those of them that have not succeeded yet, `from_ms`
-- its start time while it waits. A job that others name has `needed`. bl:dependents:<tenant>:<id> has the living jobs that
-- name the job: 0 while they wait for it, else 1. bl:settling has '<tenant>/<id>' of each ended job whose dependents are
-- still to be told, by the ms of the next try. The table `chains` stands in _common.

function chains.key(tenant, id) return 'bl:dependents:' .. tenant .. ':' .. id end

-- Removes an ended job from its sources.
function chains.leave(job)
  for id in string.gmatch(job.sources, '%S+') do beside(job, 'ZREM', chains.key(job.tenant, id), job.id) end
end

-- Notes that a source has succeeded. The last one lets the job wait for its start time, or enqueues it; its time in the
-- queue begins then.
local function source_succeeded(job, source, now)
  local left = {}
  for id in string.gmatch(job.waits, '%S+') do if id ~= source then table.insert(left, id) end end
  if left[1] then return set(job, 'waits', table.concat(left, ' ')) end
  unset(job, 'waits')
  local start = tonumber(job.from_ms) or now
  local ttl = tonumber(job.start_by_ms) - start
  start = math.max(start, now)
  note(job, 'start_by_ms', num(start + ttl))
  redis.call('ZADD', 'bl:expiries', num(math.min(start + ttl, tonumber(job.deadline_ms or start + ttl))), job.id)
  if start > now then
    set(job, 'from_ms', num(start))
    return wait_until(job, start)
  end
  wait_no_longer(job)
  enter_line(job, now)
  event(job, 'queued')
  return not wake(job.queue, now) and job.queue or nil
end

-- Tells one dependent, which has not ended, that the source has ended with `status`; the queue that wants a doorbell, or nil.
local function tell(job, source, status, now)
  redis.call('ZADD', chains.key(job.tenant, source), 1, job.id)
  if not job.waits or not string.find(' ' .. job.waits .. ' ', ' ' .. source .. ' ', 1, true) then return nil end
  if status == 'succeeded' then return source_succeeded(job, source, now) end
  local words = 'the job waited for ' .. source .. (status == 'gone' and ', which no longer exists' or ', which ended as ' .. status)
  local failure = cjson.encode({code = 'dependency_failed', detail = words, retryable = false})
  note(job, 'error', failure)
  finish(job, 'failed', now)
end

-- Tells `most` dependents of an ended job at most. Returns how many were told, and the queues that want doorbells.
function chains.settle(tenant, id, now, most)
  local key, queues, told = chains.key(tenant, id), {}, 0
  local status, ended = unpack(redis.call('HMGET', 'bl:job:' .. id, 'status', 'ended_ms'))
  if status and not ended then return 0, queues end
  local waiting = beside({id = id}, 'ZRANGEBYSCORE', key, 0, 0, 'LIMIT', 0, most)
  for _, dependent in ipairs(waiting ~= 0 and waiting or {}) do
    local job = read_or_set_aside('settle_chains', dependent, now)
    local queue = nil
    if job and not job.ended_ms then queue = tell(job, id, status or 'gone', now) else redis.call('ZREM', key, dependent) end
    if queue then table.insert(queues, queue) end
    told = told + 1
  end
  return told, queues
end

-- Marks that the dependents of an ended job are to be told. The keeper does (settle_chains); where it succeeded, the first
-- few are told here.
function chains.ended(job, status, now)
  redis.call('ZADD', 'bl:settling', num(now), job.tenant .. '/' .. job.id)
  if status ~= 'succeeded' then return end
  local done, told = pcall(chains.settle, job.tenant, job.id, now, 5)
  if done and told < 5 then redis.call('ZREM', 'bl:settling', job.tenant .. '/' .. job.id) end
end
