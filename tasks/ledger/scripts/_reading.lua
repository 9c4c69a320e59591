-- _reading: the clock, the epoch, and how arguments and records are read; set before _common and each verb.
--
-- A record is read with HGETALL into a table `job`. Whatever may be wrong with an argument or a record is looked for before
-- the first write, as Redis rolls nothing back.

local function clock(given)
  if tonumber(given) > 0 then return tonumber(given) end
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- The digits behind a name in INFO's text, which is looked for as it is: a pattern would try every character before it.
local function told(text, name)
  local _, at = string.find(text, name, 1, true)
  return at and string.match(text, '^%x+', at + 1)
end
-- Whether the keeper has reconciled with this very start of the server; where not, every verb answers 'not ready'.
-- At maxmemory the server refuses a script whose first write adds; one that has freed, were it nothing, may go on.
-- A keeper of the release before says the run_id alone, which counts beside what was said of another server.
local function server()
  local run_id = told(redis.call('INFO', 'server'), '\nrun_id:')
  return run_id, run_id .. ' ' .. told(redis.call('INFO', 'replication'), '\nmaster_replid:')
end
local function ready()
  redis.call('DEL', 'bl:none')
  local run_id, replid = server()
  local epoch = redis.call('MGET', 'bl:epoch', 'bl:epoch:replid')
  return epoch[1] == run_id and (epoch[2] == replid or string.sub(epoch[2] or '', 1, #run_id) ~= run_id)
end

-- In place of the epoch: whether this keeper alone puts back what the server has lost.
local function fenced(token) return token ~= '' and redis.call('GET', 'bl:restoring') == token end

-- All 17 digits: `..` and tostring would round scores and ms.
local function num(x) return string.format('%.17g', x) end

-- Arguments: a finite number, a whole one, a JSON object. What is none is refused.
local function number(text)
  local n = tonumber(text)
  return n and math.abs(n) < 2^53 and n or error('no number: ' .. tostring(text), 0)
end
local function whole(text) return number(text) % 1 == 0 and text or error('no whole number: ' .. text, 0) end
local function document(text)
  local object = cjson.decode(text)
  return type(object) == 'table' and object or error('no object: ' .. text, 0)
end

-- The record as it is, {} without its id where there is none; nil where its key is of another type.
local function fields(id)
  local flat, job = redis.pcall('HGETALL', 'bl:job:' .. id), {}
  if flat.err then
    if string.find(flat.err, '^WRONGTYPE') then return nil end
    error(flat.err, 0)
  end
  for i = 1, #flat, 2 do job[flat[i]] = flat[i + 1] end
  if #flat > 0 then job.id, job.flat = id, flat end
  return job
end

local MUST, MAY = {'priority', 'created_ms', 'start_by_ms', 'run_ms', 'keep_ms', 'max'},
  {'tag', 'since_ms', 'queued_ms', 'starts', 'releases', 'started_ms', 'deadline_ms', 'phase_ms', 'attempt_ms', 'loading_ms'}

-- The job; nil where there is none; nil and why where its record cannot be read.
local function read(id)
  local job = fields(id)
  if not job then return nil, 'its key is of another type' end
  if not job.id then return nil end
  if not job.status then return nil, 'it has no status' end
  job.queue, job.pool = string.match(job.line or '', '^(([^.:]+)%.[^:]+):.')
  if not (job.queue and job.tenant and job.fixed) then return nil, 'it has no line, tenant or request' end
  if job.ended_ms then return job end
  for _, name in ipairs(MUST) do if not tonumber(job[name]) then return nil, name .. ' is no number' end end
  for _, name in ipairs(MAY) do if job[name] and not tonumber(job[name]) then return nil, name .. ' is no number' end end
  if job.token and not (job.starts and job.slot and job.worker) then return nil, 'it runs nowhere' end
  return job
end

-- The same for verbs about one job, whose caller is told.
local function load(id)
  local job, why = read(id)
  return job or why and error('the record of ' .. id .. ' cannot be read: ' .. why, 0) or nil
end

-- What is wrong with one job stops no other: the keeper tells of it.
local function fault(verb, id, words)
  redis.pcall('XADD', 'bl:faults', 'MAXLEN', '~', 1000, '*', 'verb', verb, 'id', id, 'words', words)
end

-- An index beside the record: where its key is of another type the job goes on without it.
local function beside(job, command, key, ...)
  local done = redis.pcall(command, key, ...)
  if type(done) ~= 'table' or not done.err then return done end
  if not string.find(done.err, '^WRONGTYPE') then error(done.err, 0) end
  fault(command, job.id, key .. ' is of another type')
  return 0
end
