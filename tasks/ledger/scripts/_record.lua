-- _record: the writing of records and the event of each change of status; stands behind _batches.
--
-- What is set stands in the table `job` too, so that the table is the record at any time.

-- Sets fields of the job in the table; the next `set` or `event` of the job writes them.
local function note(job, ...)
  local more, noted = {...}, job.noted
  for i = 1, #more, 2 do job[more[i]] = more[i + 1] end
  if not noted then
    job.noted = more
    return
  end
  local n = #noted
  for i = 1, #more do noted[n + i] = more[i] end
end

-- Sets or removes fields of the job, in the table and in Redis.
local function set(job, ...)
  note(job, ...)
  redis.call('HSET', 'bl:job:' .. job.id, unpack(job.noted))
  job.noted = nil
end
local function unset(job, ...)
  local gone = {}
  for _, name in ipairs({...}) do
    if job[name] then
      gone[#gone + 1] = name
      job[name] = nil
    end
  end
  if #gone > 0 then redis.call('HDEL', 'bl:job:' .. job.id, unpack(gone)) end
end

-- Changes the status and tells the event stream, whose readers know kind and model by the line. The keeper trims it further.
-- Of the members of a batch the first is told once, when it is sealed.
local function event(job, status)
  if job.batch and not count_member(job, job.status, status) then return set(job, 'status', status) end
  set(job, 'status', status)
  local told = {'id', job.id, 'status', status, 'tenant', job.tenant, 'line', job.line, job.batch and 'batch', job.batch}
  redis.call('XADD', 'bl:events', 'MAXLEN', '~', 300000, '*', unpack(told))
end

-- Entries of the table `job` that are no fields of its record.
local NO_FIELDS = {id = true, noted = true, queue = true, pool = true}

-- The record's fields and values as texts; what HGETALL would answer, without asking for it.
local function record_of(job)
  local words, n = {}, 0
  for name, value in pairs(job) do
    if not NO_FIELDS[name] then
      words[n + 1], words[n + 2] = name, type(value) == 'number' and num(value) or value
      n = n + 2
    end
  end
  return words
end
