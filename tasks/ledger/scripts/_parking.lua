-- _parking: parks jobs of a tenant that may start nothing now, because it is paused or runs as many as it may; stands
-- behind _common.
--
-- Parked jobs stand in no line, so that nobody waits behind them. Their keys:
--   bl:parked                  set   the tenants with parked jobs
--   bl:parked:<tenant>:<line>  zset  job id by the score that it had in the line first
--   bl:parked:<tenant>         hash  line <line>  1, for each such line
--                                    last <pool>  the tenant's last tag there; <pool>#batch for members of batches
--                                    back <pool>  the tag of the job that was brought back last
--                                    met <pool>   the ms at which `claim` last met a job of the tenant
--
-- Jobs of such a tenant that do stand in a line are its turns. At a turn the tenant's first job starts, and the job whose
-- turn it was is parked in its place. So its jobs keep their order and it gets its share, no more. Where a pool has no
-- turn of the tenant's, or `claim` met none for STALE_MS (the model is paused or has no worker), some jobs are brought
-- back to each line.

local STALE_MS = 5000
local UNLIMITED = 1000000     -- attempts, for a tenant without a limit
local REFILLED_MAX = 10       -- jobs brought back to each line at the start of an attempt

-- Whether any tenant has a job parked, and whether any pause is in force; asked once a list, as most often there is none.
local function has_parked(tenant)
  if trip.any_parked == nil then trip.any_parked = redis.call('EXISTS', 'bl:parked') == 1 end
  return trip.any_parked and redis.call('EXISTS', 'bl:parked:' .. tenant) == 1
end
local function has_pauses()
  if trip.any_pause == nil then trip.any_pause = redis.call('EXISTS', 'bl:pauses') == 1 end
  return trip.any_pause
end
local function is_paused(tenant) return has_pauses() and redis.call('HEXISTS', 'bl:pauses', 'tenant/' .. tenant) == 1 end

-- The lines in which the tenant has parked jobs.
local function lines_of(tenant)
  local lines = {}
  for _, field in ipairs(redis.call('HKEYS', 'bl:parked:' .. tenant)) do
    lines[#lines + 1] = string.match(field, '^line (.+)$')
  end
  return lines
end

-- Attempts of the tenant that run. At `most` each is looked at: a worker of an older release leaves ended ones behind.
local function running(tenant, most)
  local key = 'bl:running:' .. tenant
  local count = redis.call('SCARD', key)
  for _, id in ipairs(count >= most and redis.call('SRANDMEMBER', key, 1000) or {}) do
    if not redis.call('HGET', 'bl:job:' .. id, 'token') then redis.call('SREM', key, id) end
  end
  return redis.call('SCARD', key)
end

-- Attempts that the tenant may still start; `most` 0: any number.
function parking.free(tenant, most)
  if is_paused(tenant) then return 0 end
  return most == 0 and UNLIMITED or most - running(tenant, most)
end

-- Parks a job, which stands in its line with that score.
function parking.park(job, score, now)
  local key, last = 'bl:parked:' .. job.tenant, redis.call('HGET', 'bl:fair:' .. job.pool, 'tag:' .. flow_of(job))
  leave_line(job)
  set(job, 'parked', 1, 'place', job.place or num(score))
  redis.call('ZADD', key .. ':' .. job.line, job.place, job.id)
  redis.call('HSET', key, 'line ' .. job.line, 1, 'met ' .. job.pool, num(now))
  if last then redis.call('HSET', key, last_of(job), last) end
  redis.call('SADD', 'bl:parked', job.tenant)
  trip.any_parked = true
end

-- Ends a job's parking, for whatever reason. No key stays behind of a tenant with nothing parked.
function parking.leave(job)
  if not job.parked then return end
  local key = 'bl:parked:' .. job.tenant
  redis.call('ZREM', key .. ':' .. job.line, job.id)
  unset(job, 'parked')
  if redis.call('EXISTS', key .. ':' .. job.line) == 1 then return end
  redis.call('HDEL', key, 'line ' .. job.line)
  if #lines_of(job.tenant) > 0 then return end
  redis.call('DEL', key)
  redis.call('SREM', 'bl:parked', job.tenant)
end

-- The job that starts at the turn of `job`: the first of the tenant's jobs in the open lines, parked ones included.
function parking.first(job, score, worker, now)
  local key, place, id = 'bl:parked:' .. job.tenant, tonumber(job.place or score), nil
  if not has_parked(job.tenant) then return job end
  redis.call('HSET', key, 'met ' .. job.pool, num(now))
  local lines = {}
  for i, line in ipairs(worker.lines) do
    if not worker.closed[i] then lines[#lines + 1] = key .. ':' .. string.sub(line, 9) end
  end
  for _, line in ipairs(lines) do
    local head = redis.call('ZRANGE', line, 0, 0, 'WITHSCORES')
    if head[1] and tonumber(head[2]) < place then id, place = head[1], tonumber(head[2]) end
  end
  local first, why = nil, nil
  if id then first, why = read(id) end
  if id and not first then
    for _, line in ipairs(lines) do redis.call('ZREM', line, id) end
    fault('claim', id, why or 'there is no record')
  end
  return first or job
end

-- Gives a turn to a parked job; the job whose turn it was is parked.
function parking.swap(turn, job, score, now)
  parking.park(turn, score, now)
  parking.leave(job)
  set(job, 'tag', turn.tag)
end

-- Brings a parked job back into its line, with a tag as if it came now and behind those brought back before, or its own
-- later one: the time in which a tenant may not run earns it no lead.
local function bring_back(job, now)
  local fair, key, last = 'bl:fair:' .. job.pool, 'bl:parked:' .. job.tenant, 'tag:' .. flow_of(job)
  local seen = redis.call('HMGET', fair, 'clock', last)
  local known = redis.call('HMGET', key, last_of(job), 'back ' .. job.pool)
  job.tag = math.max(tonumber(job.tag), math.max(tonumber(seen[1] or 0), tonumber(known[2] or 0)) + 1)
  redis.call('HSET', key, 'back ' .. job.pool, num(job.tag))
  parking.leave(job)
  enter_line(job, now, job.since_ms)
  redis.call('HSET', fair, last, num(math.max(tonumber(seen[2] or 0), tonumber(known[1] or 0), job.tag)))
  wake(job.queue, now)
end

-- Brings up to `most` jobs back to each line of the pools in which the tenant has no turn, or none was met for STALE_MS,
-- in their order; how many in all.
function parking.refill(tenant, most, now)
  local key, without = 'bl:parked:' .. tenant, {}
  if most <= 0 or not has_parked(tenant) or is_paused(tenant) then return 0 end
  local lines = lines_of(tenant)
  for _, line in ipairs(lines) do
    local pool = string.match(line, '^[^.]+')
    without[pool] = in_lines(pool, tenant) == 0
      or now - tonumber(redis.call('HGET', key, 'met ' .. pool) or 0) > STALE_MS
  end
  local coming = {}
  for _, line in ipairs(lines) do
    local some = without[string.match(line, '^[^.]+')] and {0, most - 1, 'WITHSCORES'} or {1, 0}
    local flat = redis.call('ZRANGE', key .. ':' .. line, unpack(some))
    for i = 1, #flat, 2 do
      local job, why = read(flat[i])
      if job then
        coming[#coming + 1] = {id = flat[i], place = tonumber(flat[i + 1]), job = job}
      else
        redis.call('ZREM', key .. ':' .. line, flat[i])
        fault('refill', flat[i], why or 'there is no record')
      end
    end
  end
  table.sort(coming, function(a, b) return a.place < b.place or a.place == b.place and a.id < b.id end)
  for _, one in ipairs(coming) do bring_back(one.job, now) end
  return #coming
end

-- Counts a started attempt; brings jobs back where the tenant may start more.
function parking.started(job, most, now)
  beside(job, 'SADD', 'bl:running:' .. job.tenant, job.id)
  if has_parked(job.tenant) then
    parking.refill(job.tenant, math.min(REFILLED_MAX, parking.free(job.tenant, most)), now)
  end
end

-- Counts an ended attempt; brings back one job a line.
function parking.ended(job, now)
  beside(job, 'SREM', 'bl:running:' .. job.tenant, job.id)
  parking.refill(job.tenant, 1, now)
end

-- The tenant's waiting jobs: in lines, parked, before a start time or a retry, and still to come of batches.
function parking.waiting(tenant)
  local count = redis.call('SCARD', 'bl:later:' .. tenant) + to_come(tenant)
  for _, pool in ipairs(redis.call('HKEYS', 'bl:pools')) do
    count = count + in_lines(pool, tenant)
  end
  for _, line in ipairs(has_parked(tenant) and lines_of(tenant) or {}) do
    count = count + redis.call('ZCARD', 'bl:parked:' .. tenant .. ':' .. line)
  end
  return count
end
