-- _citing: results of jobs that asked for `cache`, and jobs that end by the result of another; stands behind _parking.
--
-- Keys, of a tenant:
--   bl:cached:<tenant>:<digest>  hash  `ran`: the job that did the work last; `last`: the one with its result that is kept longest
--   bl:cited:<tenant>:<job>      set   jobs that list the outputs of this one; '-' once it was erased
--   bl:citing:<tenant>           hash  job -> '<job>/<folder>' of the outputs that it lists

local function name_of(tenant, digest) return tenant .. ':' .. digest end

-- The folder of a job's outputs; '' where it has none; nil where its record does not tell.
local function folder_of(job)
  if (job.outputs or '[]') == '[]' then return '' end
  return job.cited or string.match(job.outputs, '"key": ?"tenants/[^/"]+/jobs/[^/"]+/([^/"]+)/')
end

-- A job that has done the work and whose record and outputs are there; nil where there is none.
function same.done(tenant, digest, now)
  local known = redis.call('HMGET', 'bl:cached:' .. name_of(tenant, digest), 'last', 'ran')
  for i = 1, 2 do
    local job = known[i] and fields(known[i])
    local fits = job and job.status == 'succeeded' and job.tenant == tenant and job.cache == digest and job.result
    if fits and tonumber(job.retained_ms or 0) > now and folder_of(job) then return job end
  end
end

-- Keeps the job as one whose result may be cited, for as long as it is kept.
local function remember(job, field, now)
  local key, left = 'bl:cached:' .. name_of(job.tenant, job.cache), math.ceil(tonumber(job.retained_ms) - now)
  if left <= 0 then return end
  beside(job, 'HSET', key, field, job.id, 'last', job.id)
  redis.call('PEXPIRE', key, num(left))
end

-- Ends a job by the result of another.
local function cite(job, done, now)
  local folder, owner = folder_of(done), done.cached_from or done.id
  note(job, 'cached_from', owner, 'result', done.result, 'outputs', done.outputs or '[]', 'progress', '1')
  if folder ~= '' then
    note(job, 'cited', folder)
    same.list(job)
  end
  charge('bl:held', job.tenant, job.id, size_of(job))
  finish(job, 'succeeded', now)
  if tonumber(job.retained_ms) >= tonumber(done.retained_ms) then remember(job, 'last', now) end
end

-- Notes that the job lists another's outputs, so that they outlive that one.
function same.list(job)
  beside(job, 'SADD', 'bl:cited:' .. job.tenant .. ':' .. job.cached_from, job.id)
  beside(job, 'HSET', 'bl:citing:' .. job.tenant, job.id, job.cached_from .. '/' .. job.cited)
end
