-- _next: chooses the job that a claim gets, and starts its attempt; stands behind _closed, for claim alone.
--
-- A worker is {id, slots (the key of its hash), pool, process, slot, most_running (attempts a tenant may have), v (the
-- newest form of a record that it reads), lines (their keys), most (jobs of each that it may hold, '0' for any number),
-- closed (lines by place; set here)}.

local PASSED_MAX = 4          -- jobs of one line that a claim passes by, for their drains
local LOOKS_MAX = 100         -- heads that one claim looks at
local DRAINS_MANY = 3         -- drains after which a job goes to a worker that will stay
local PASSED_MAX_MS = 30000   -- wait after which such a job goes to any worker

-- Whether the job runs in the worker's process, in another slot.
local function runs_beside(worker, id, now)
  local other = read_or_set_aside('claim', id, now)
  return other and other.token and other.slot ~= worker.slot and string.match(other.slot, '^(.*):') == worker.process
end

-- Whether anything runs in the worker's process, in another slot.
local function is_busy(worker, now)
  for _, value in ipairs(redis.call('HVALS', worker.slots)) do
    if runs_beside(worker, string.match(value, '(%S+)$'), now) then return true end
  end
  return false
end

-- Whether the job may not run beside others: it is suspected of a process's end, or its tenant cost the pool three.
local function must_be_alone(job, now)
  return job.suspect or tonumber(redis.call('GET', 'bl:alone:' .. job.pool .. ':' .. job.tenant) or 0) > now
end

-- Whether the worker is younger than most of its pool: an autoscaler ends the youngest first.
local function is_young(worker, now)
  local mine, older, younger = tonumber(redis.call('HGET', 'bl:worker:' .. worker.id, 'up_ms') or now), 0, 0
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', 'bl:workers', '(' .. num(now), '+inf', 'LIMIT', 0, 200)) do
    local pool, draining, up = unpack(redis.call('HMGET', 'bl:worker:' .. id, 'pool', 'draining', 'up_ms'))
    if id ~= worker.id and pool == worker.pool and draining ~= '1' then
      if tonumber(up or 0) < mine then older = older + 1 else younger = younger + 1 end
    end
  end
  return older > younger
end

-- The waiting job at the head of a line. Anything else that stands there is removed, and nil.
local function waiting_head(worker, line, now)
  local job, why = read(line.id)
  local waits = job and job.status == 'queued' and not job.token and job.tag and job.since_ms
  local v = waits and tonumber(job.v or 1) or 1
  if v > worker.v then  -- of a newer release: only its workers serve the line of that form
    leave_line(job)
    set(job, 'line', string.match(job.line, '^[^@]+') .. '@' .. v)
    redis.call('SADD', 'bl:lines', job.line)
    return enter_line(job, now, job.since_ms)
  end
  if waits then return job end
  if job then fault('claim', line.id, 'it is ' .. job.status .. ' and stands in a line')
  else set_aside('claim', line.id, why, now) end
  remove_stray(line.name, line.id, job or {})
end

-- The next job, by the lowest score among the heads of open lines: the job, the score, and the head whose turn it takes
-- (itself, or, where the tenant has a job parked that came before it, that head).
--
-- A head of a tenant that may not run is parked. A head that was drained DRAINS_MANY times is passed by, by young workers,
-- for PASSED_MAX_MS. nil: there is none; nil and true: none was found in LOOKS_MAX looks.
-- Lines of newer forms stand last; most often none of them exists, and one EXISTS skips them all.
local function next_job(worker, now)
  local heads, tenant_waits, young = {}, {}, nil
  worker.closed = closed_lines(worker)
  if not worker.closed then return nil end
  local plain, last = #worker.lines, #worker.lines
  while plain > 0 and string.find(worker.lines[plain], '@', 1, true) do plain = plain - 1 end
  if plain < last and redis.call('EXISTS', unpack(worker.lines, plain + 1)) == 0 then last = plain end
  for i = 1, last do
    local head = not worker.closed[i] and redis.call('ZRANGE', worker.lines[i], 0, 0, 'WITHSCORES')
    if head and head[1] then
      heads[#heads + 1] = {key = worker.lines[i], name = string.sub(worker.lines[i], 9), passed = 0, id = head[1], score = tonumber(head[2])}
    end
  end
  local function look_at_next(line)
    local head = line.passed < PASSED_MAX and redis.call('ZRANGE', line.key, line.passed, line.passed, 'WITHSCORES') or {}
    line.id, line.score = head[1], tonumber(head[2])
  end
  for _ = 1, LOOKS_MAX do
    local best
    for _, line in ipairs(heads) do
      if line.id and (not best or line.score < best.score) then best = line end
    end
    if not best then return nil end
    local job = waiting_head(worker, best, now)
    local drained = job and tonumber(job.drains or 0) >= DRAINS_MANY and now - tonumber(job.since_ms) < PASSED_MAX_MS
    if drained and young == nil then young = is_young(worker, now) end
    local tenant = job and job.tenant
    if job and tenant_waits[tenant] == nil then tenant_waits[tenant] = parking.free(tenant, worker.most_running) <= 0 end
    if not job then  -- it was removed
    elseif tenant_waits[tenant] then
      parking.park(job, best.score, now)
    elseif drained and young then
      best.passed = best.passed + 1
    else
      return parking.first(job, best.score, worker, now), best.score, job
    end
    look_at_next(best)
  end
  return nil, true
end

-- Starts an attempt. `alone`: nothing runs beside it in a process that has several slots.
local function start_attempt(job, worker, token, alone, lease, now)
  local number = tonumber(job.starts or 0) + 1
  unset(job, 'retry_ms', 'progress', 'message', 'metrics', 'alone', 'batching')
  if alone then note(job, 'alone', 1) end
  note(job, 'starts', number, 'token', token, 'slot', worker.slot, 'worker', worker.id, 'phase', 'running',
    'phase_ms', num(now), 'attempt_ms', num(now), 'started_ms', job.started_ms or num(now),
    'queued_ms', num(tonumber(job.queued_ms or 0) + now - tonumber(job.since_ms)),
    'attempt:' .. number, begun(number, worker.id, token, now))
  forget_attempt(job, number - 50)
  if job.webhook and number == 1 then owed.pass(job.tenant, job.id, job.webhook, 'started', now) end
  event(job, 'running')
  parking.started(job, worker.most_running, now)
  redis.call('ZADD', 'bl:leases:' .. worker.pool, num(now + lease), job.id)
  if redis.call('HSET', worker.slots, worker.slot, token .. ' ' .. job.id) == 1 then
    redis.call('PEXPIRE', worker.slots, 3600000)  -- from then on by renew
  end
  if job.deadline_ms then redis.call('ZADD', 'bl:expiries', job.deadline_ms, job.id)
  else redis.call('ZREM', 'bl:expiries', job.id) end
end
