-- _reading: the clock, the epoch, and the reading and checking of arguments and records; stands before _common.
--
-- A record is read with HGETALL into a table `job`. Arguments and records are checked before the first write, since Redis
-- rolls nothing back.

-- ms since 1970: the time given by a test, or Redis' TIME where that is 0; one time for the whole list.
local time_ms
local function clock(given)
  if given ~= '0' then return tonumber(given) end
  if time_ms then return time_ms end
  local t = redis.call('TIME')
  time_ms = t[1] * 1000 + math.floor(t[2] / 1000)
  return time_ms
end

-- The hexadecimal digits behind a name in INFO's text. A plain find: a pattern would try every character before it.
local function info_value(text, name)
  local _, at = string.find(text, name, 1, true)
  return at and string.match(text, '^%x+', at + 1)
end
-- This server's run_id, and '<run_id> <master_replid>'.
local function server()
  local run_id = info_value(redis.call('INFO', 'server'), '\nrun_id:')
  return run_id, run_id .. ' ' .. info_value(redis.call('INFO', 'replication'), '\nmaster_replid:')
end
-- Whether the epoch is this server's, so that the keeper has reconciled with it; else every verb answers 'not ready'.
--
-- A connection that was checked when it was made (epoch.py) sends the epoch that it found, in ARGV[1] of the whole script;
-- then one GET is enough, since INFO takes as long as twenty commands. All others have '' there.
-- A keeper of the release before sets run_id alone: a replid that was set for another run_id is not compared.
local checked, is_ready = ARGV[1], nil
local function compare()
  if checked ~= '' then return redis.call('GET', 'bl:epoch:replid') == checked end
  local run_id, replid = server()
  local epoch = redis.call('MGET', 'bl:epoch', 'bl:epoch:replid')
  return epoch[1] == run_id and (epoch[2] == replid or string.sub(epoch[2] or '', 1, #run_id) ~= run_id)
end
local function ready()
  if is_ready == nil then is_ready = compare() end
  return is_ready
end

-- Whether the token is that of the keeper that restores; compared in place of the epoch.
local function fenced(token) return token ~= '' and redis.call('GET', 'bl:restoring') == token end

-- The number as text with 17 digits; `..` and tostring would round scores and ms.
local function num(x) return string.format('%.17g', x) end

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
  if #flat > 0 then job.id, job.flat = id, flat end
  return job
end

-- Fields of a living record that are numbers: those that it must have, and those that it may have.
local REQUIRED_NUMBERS = {'priority', 'created_ms', 'start_by_ms', 'run_ms', 'keep_ms', 'max'}
local OPTIONAL_NUMBERS = {'tag', 'since_ms', 'queued_ms', 'starts', 'releases', 'started_ms', 'deadline_ms', 'phase_ms', 'attempt_ms', 'loading_ms'}

-- The job; nil where there is none; nil and the reason where its record cannot be read.
local function read(id)
  local job = fields(id)
  if not job then return nil, 'its key is of another type' end
  if not job.id then return nil end
  if not job.status then return nil, 'it has no status' end
  job.queue, job.pool = string.match(job.line or '', '^(([^.:]+)%.[^:]+):.')
  if not (job.queue and job.tenant and job.fixed) then return nil, 'it has no line, tenant or request' end
  if job.ended_ms then return job end
  for _, name in ipairs(REQUIRED_NUMBERS) do if not tonumber(job[name]) then return nil, name .. ' is no number' end end
  for _, name in ipairs(OPTIONAL_NUMBERS) do if job[name] and not tonumber(job[name]) then return nil, name .. ' is no number' end end
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
