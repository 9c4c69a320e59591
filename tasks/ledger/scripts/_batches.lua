-- _batches: the members of batches: their fair flow, and the counts of their batch; stands behind _reading, before _common.

-- Fairness is between flows. A tenant has two: its single jobs, and, as <tenant>#batch, the members of all its batches.
local function flow_of(job) return job.batch and job.tenant .. '#batch' or job.tenant end
local function last_of(job) return 'last ' .. job.pool .. (job.batch and '#batch' or '') end

-- Jobs of a tenant that stand in the pool's lines.
local function in_lines(pool, tenant)
  local jobs = redis.call('HMGET', 'bl:fair:' .. pool, 'jobs:' .. tenant, 'jobs:' .. tenant .. '#batch')
  return tonumber(jobs[1] or 0) + tonumber(jobs[2] or 0)
end

-- Counts a member in its batch, from the status before, nil for a new job, to its status now; notes its end. A count that
-- cannot be written stops no job. Returns whether the event stream hears of it: of new members `seal_batch` tells at once.
local function count_member(job, before, status)
  local key = 'bl:batch:' .. job.tenant .. ':' .. job.batch
  local done = redis.pcall('HINCRBY', key, status, 1)
  if type(done) == 'table' then fault('count', job.id, done.err)
  else
    if before then redis.pcall('HINCRBY', key, before, -1) end
    if job.ended_ms then redis.call('HSET', key, 'ended_ms', job.ended_ms) end
  end
  return before
end

-- Statuses of a job, as a batch counts its members.
local STATUSES = {'scheduled', 'queued', 'running', 'canceling', 'succeeded', 'failed', 'canceled', 'expired'}

-- Jobs that the batch has made.
local function made_by(tenant, batch)
  local made = 0
  for _, n in ipairs(redis.call('HMGET', 'bl:batch:' .. tenant .. ':' .. batch, unpack(STATUSES))) do
    made = made + (tonumber(n or 0) or 0)
  end
  return made
end

-- Lines of the tenant's batches that are being received and have not made their jobs yet.
local function to_come(tenant)
  local count, of_batches = 0, redis.call('HGETALL', 'bl:receiving:' .. tenant)
  for i = 1, #of_batches, 2 do
    count = count + math.max(0, tonumber(of_batches[i + 1]) - made_by(tenant, of_batches[i]))
  end
  return count
end
