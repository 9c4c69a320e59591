-- _reading: the reading and checking of arguments and records; stands behind _server.
--
-- A record is read with HGETALL into a table `job`. Arguments and records are checked before the first write, since Redis
-- rolls nothing back.

-- The number as text with 17 digits; `..` and tostring would round scores and ms. '%d' takes half the time.
local function num(x) return string.format(x % 1 == 0 and math.abs(x) < 2^53 and '%d' or '%.17g', x) end

-- Checks of arguments, which raise: a finite number, a whole number (as text), a JSON object.
local function number(text)
  local n = tonumber(text)
  return n and math.abs(n) < 2^53 and n or error('no number: ' .. tostring(text), 0)
end
local function whole(text) return number(text) % 1 == 0 and text or error('no whole number: ' .. text, 0) end
local function document(text)
  local object = cjson.decode(text)
  return type(object) == 'table' and object or error('no object: ' .. text, 0)
end

-- The record unchecked, with its id; {} where there is none; nil where its key is of another type.
local function fields(id)
  local flat, job = redis.pcall('HGETALL', 'bl:job:' .. id), {}
  if flat.err then
    if string.find(flat.err, '^WRONGTYPE') then return nil end
    error(flat.err, 0)
  end
  for i = 1, #flat, 2 do job[flat[i]] = flat[i + 1] end
  if #flat > 0 then job.id = id end
  return job
end

-- Fields of a living record that are numbers: the first six it must have, the others it may have.
local NUMBERS = {'priority', 'created_ms', 'start_by_ms', 'run_ms', 'keep_ms', 'max', 'tag', 'since_ms', 'queued_ms', 'starts',
  'releases', 'started_ms', 'deadline_ms', 'phase_ms', 'attempt_ms', 'loading_ms'}

-- The job; nil where there is none; nil and the reason where its record cannot be read.
local function read(id)
  local job = fields(id)
  if not job then return nil, 'its key is of another type' end
  if not job.id then return nil end
  if not job.status then return nil, 'it has no status' end
  job.queue, job.pool = string.match(job.line or '', '^(([^.:]+)%.[^:]+):.')
  if not (job.queue and job.tenant and job.fixed) then return nil, 'it has no line, tenant or request' end
  if job.ended_ms then return job end
  for i = 1, #NUMBERS do
    local value = job[NUMBERS[i]]
    if (value or i <= 6) and not tonumber(value) then return nil, NUMBERS[i] .. ' is no number' end
  end
  if job.token and not (job.starts and job.slot and job.worker) then return nil, 'it runs nowhere' end
  return job
end

-- As `read`, for verbs about one job: a record that cannot be read is an error of the verb.
local function load(id)
  local job, why = read(id)
  return job or why and error('the record of ' .. id .. ' cannot be read: ' .. why, 0) or nil
end

-- Reports a fault of one job to the keeper, which logs it; no other job is stopped.
local function fault(verb, id, words)
  redis.pcall('XADD', 'bl:faults', 'MAXLEN', '~', 1000, '*', 'verb', verb, 'id', id, 'words', words)
end

-- Runs a command on an index beside the record. Where its key is of another type the job goes on without the index.
local function beside(job, command, key, ...)
  local done = redis.pcall(command, key, ...)
  if type(done) ~= 'table' or not done.err then return done end
  if not string.find(done.err, '^WRONGTYPE') then error(done.err, 0) end
  fault(command, job.id, key .. ' is of another type')
  return 0
end
