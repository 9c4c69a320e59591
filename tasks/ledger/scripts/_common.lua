-- _common: steps that several verbs share: line, end, retry, release; stands behind _usage.
--
-- Keys are built here as in keys.py.

-- Wakes one slot that lingers for the queue; false where there is none.
local function wake(queue, now)
  local slot = redis.call('ZPOPMAX', 'bl:idle:' .. queue)
  if not slot[1] or tonumber(slot[2]) <= now then return false end
  redis.call('LPUSH', 'bl:wake:' .. slot[1], 'job')
  redis.call('PEXPIRE', 'bl:wake:' .. slot[1], 2000)
  return true
end

-- Filled in _parking.lua, _citing.lua, _same.lua and _chains.lua.
local parking = {}
local same = {}
local chains = {}

-- Enqueues the job, with its old fair tag or else a new one. `since`: the ms since which it waits, or nil for now.
-- While both flows of a tenant wait, each has half of its weight.
local function enter_line(job, now, since)
  local fair, tag, flow = 'bl:fair:' .. job.pool, tonumber(job.tag), flow_of(job)
  if tag then
    redis.call('HINCRBY', fair, 'jobs:' .. flow, 1)
  else
    local other = 'jobs:' .. job.tenant .. (job.batch and '' or '#batch')
    local seen = redis.call('HMGET', fair, 'clock', 'tag:' .. flow, 'jobs:' .. flow, other)
    local last = seen[2] or redis.call('HGET', 'bl:parked:' .. job.tenant, last_of(job))
    tag = math.max(tonumber(seen[1] or 0), tonumber(last or 0)) + (seen[4] and 2 or 1)
    redis.call('HSET', fair, 'tag:' .. flow, num(tag), 'jobs:' .. flow, num(tonumber(seen[3] or 0) + 1))
  end
  set(job, 'tag', num(tag), 'since_ms', num(tonumber(since or now)))
  redis.call('ZADD', 'bl:line:' .. job.line, num(tag - 10 * tonumber(job.priority)), job.id)
end

-- Removes the job from its line. A flow with nothing waiting has no tag.
local function leave_line(job)
  if redis.call('ZREM', 'bl:line:' .. job.line, job.id) == 0 then return end
  local fair, flow = 'bl:fair:' .. job.pool, flow_of(job)
  if redis.call('HINCRBY', fair, 'jobs:' .. flow, -1) <= 0 then redis.call('HDEL', fair, 'jobs:' .. flow, 'tag:' .. flow) end
end

-- Charges bytes to a tenant for one thing: <key> has the bytes of each tenant, <key>:<tenant> those of each of its
-- things. 0: the thing is gone. Returns the bytes charged to the tenant in all.
local function charge(key, tenant, name, bytes)
  local names = key .. ':' .. tenant
  local known = tonumber(beside({id = name}, 'HGET', names, name) or 0) or 0
  if bytes == 0 then beside({id = name}, 'HDEL', names, name) else beside({id = name}, 'HSET', names, name, num(bytes)) end
  return redis.call('HINCRBY', key, tenant, num(bytes - known))
end

-- Gives the share of a job that never started back to its tenant: canceled jobs delay no later one.
local function give_share_back(job)
  if job.starts or not job.tag then return end
  local fair, parked = 'bl:fair:' .. job.pool, 'bl:parked:' .. job.tenant
  local seen = redis.call('HMGET', fair, 'clock', 'tag:' .. flow_of(job))
  local key, field, last = fair, 'tag:' .. flow_of(job), seen[2]
  if not last then key, field, last = parked, last_of(job), redis.call('HGET', parked, last_of(job)) end
  if last then redis.call('HSET', key, field, num(math.max(tonumber(seen[1] or 0), last - 1))) end
end

-- Notes when a start time or a retry is due. The job counts as one of its tenant's waiting jobs.
local function wait_until(job, at)
  redis.call('ZADD', 'bl:due', num(at), job.id)
  beside(job, 'SADD', 'bl:later:' .. job.tenant, job.id)
end

local function wait_no_longer(job)
  redis.call('ZREM', 'bl:due', job.id)
  beside(job, 'SREM', 'bl:later:' .. job.tenant, job.id)
end

-- Bytes charged for a record: its large fields, and 1024 for all others.
local function size_of(job) return 1024 + #(job.fixed or '') + #(job.result or '') + #(job.outputs or '') end

-- Enters an ended job into the indexes: its retention, its compaction to come, and whether it is a dead letter.
local function index_end(job)
  redis.call('ZADD', 'bl:retained', job.retained_ms, job.id)
  redis.call('ZADD', 'bl:whole', job.ended_ms, job.id)
  if job.status ~= 'failed' then return end
  local told, error = pcall(cjson.decode, job.error or '')
  if told and type(error) == 'table' and error.retryable then beside(job, 'ZADD', 'bl:dead:' .. job.tenant, job.ended_ms, job.id) end
end

-- Puts a folder of the job in the bucket on the trash list, for in a minute: a worker may still be writing there.
local function trash(job, folder, now)
  redis.call('ZADD', 'bl:trash', num(now + 60000), 'tenants/' .. job.tenant .. '/jobs/' .. job.id .. '/' .. folder .. '/')
end

-- Ends the job: out of all lines and clocks, into the indexes of ended jobs and the journal. No status follows. A job that
-- has started stands in no line, waits for no time and, without a deadline, has no clock: see start_attempt.
local function finish(job, status, now)
  if not job.token then
    leave_line(job)
    parking.leave(job)
    give_share_back(job)
    if job.status == 'scheduled' or job.retry_ms or job.follows then wait_no_longer(job) end
  end
  if not job.token or job.deadline_ms then redis.call('ZREM', 'bl:expiries', job.id) end
  if job.checkpoint then trash(job, 'checkpoints', now) end
  if job.text then redis.call('DEL', 'bl:text:' .. job.id) end
  if job.log then redis.call('DEL', 'bl:log:' .. job.id) end
  unset(job, 'token', 'phase', 'retry_ms', 'checkpoint', 'text', 'log', 'waits', 'follows')
  note(job, 'ended_ms', num(now), 'retained_ms', num(now + tonumber(job.keep_ms)))
  event(job, status)
  index_end(job)
  redis.call('XADD', 'bl:journal', '*', 'type', 'ended', 'id', job.id, unpack(record_of(job)))
  if job.webhook then owed.owe('webhook', job.tenant, job.id, job.webhook, status, job.retained_ms, now) end
  if job.delivery then owed.owe('delivery', job.tenant, job.id, job.delivery, status, job.retained_ms, now) end
  if job.sources then chains.leave(job) end
  if job.needed then chains.ended(job, status, now) end
  if job.cache then same.leave(job, now) end
end

-- Entry of an attempt that starts: JSON, which end_attempt completes.
local function begun(number, worker, token, now)
  return '{"number":' .. num(number) .. ',"worker":' .. cjson.encode(worker) .. ',"started_ms":' .. num(now) .. ',"token":"' .. token .. '"}'
end

-- Ends the attempt under way. `answer` keeps its token as t:<token>, so that a repeated call gets the first answer. An entry
-- that is not as `begun` made it, by an older release or by a stranger's hand, is decoded or rebuilt from the record.
local function end_attempt(job, outcome, error, now)
  local field = 'attempt:' .. job.starts
  local entry = string.match(job[field] or '', '^({"number":%d+,"worker":"[^"\\]*","started_ms":%d+,"token":"%w*")}$')
  if not entry then
    local told, past = pcall(cjson.decode, job[field] or '')
    if not told or type(past) ~= 'table' then
      past = {number = tonumber(job.starts), worker = job.worker, started_ms = tonumber(job.attempt_ms or now)}
    end
    past.ended_ms, past.outcome, past.error = nil, nil, nil
    entry = string.sub(cjson.encode(past), 1, -2)
  end
  entry = entry .. ',"ended_ms":' .. num(now) .. ',"outcome":"' .. outcome .. '"'
  if outcome ~= 'succeeded' then entry = entry .. time_taken(job) end
  note(job, field, entry .. (error ~= '' and ',"error":' .. error or '') .. '}')
  redis.call('ZREM', 'bl:leases:' .. job.pool, job.id)
  parking.ended(job, now)
  if outcome ~= 'succeeded' then trash(job, job.starts .. '-' .. string.sub(job.token, -8), now) end
end

-- Removes an old attempt: a record must not grow with each release. Its time stays.
local function forget_attempt(job, number)
  local field = 'attempt:' .. number
  local told, past = pcall(cjson.decode, job[field] or '')
  if told and type(past) == 'table' then keep_past(job, past) end
  unset(job, field, told and type(past) == 'table' and past.token and 't:' .. past.token or field)
end

-- Keeps the answer by the attempt's token, and returns it; as `end_attempt`, written with the event that follows.
local function answer(job, word)
  note(job, 't:' .. job.token, word)
  return word
end

-- Frees the slot; its last token stays known. A sweep does not call it: the lost worker must learn of it from renew.
local function free_slot(job) beside(job, 'HSET', 'bl:slots:' .. job.worker, job.slot, job.token .. ' -') end

-- Enqueues the job again, now or when `delay` ms are over.
local function requeue(job, delay, now)
  unset(job, 'token', 'phase')
  if delay > 0 then
    note(job, 'retry_ms', num(now + delay))
    wait_until(job, now + delay)
  else
    enter_line(job, now)
    wake(job.queue, now)
  end
  event(job, 'queued')
end

-- The retries left after a failure, this one counted, and the field that counts it. A cause with a budget of its own (`retry`,
-- 'worker_lost=5,...') is counted there alone; all others together, up to max_attempts.
local function retries_left(job, error, retryable)
  local told, known = pcall(cjson.decode, job.retry and error or '')
  local code = told and type(known) == 'table' and type(known.code) == 'string' and known.code
  local budget = code and string.match(',' .. job.retry .. ',', ',' .. code .. '=(%d+),')
  if budget then
    local failed = tonumber(job['failed:' .. code] or 0) + 1
    return budget - failed + 1, 'failed:' .. code, failed
  end
  local counted = tonumber(job.starts) - tonumber(job.releases or 0) - tonumber(job.budgeted or 0)
  return retryable and tonumber(job.max) - counted or 0
end

-- Ends a failed attempt: 'canceled' where that was asked, 'queued' for a retry where some are left, else 'failed'. `guilty`:
-- none is, whatever the budget. Also the retries that were left.
local function fail_attempt(job, error, retryable, delay, now, guilty)
  local final = job.status == 'canceling' and 'canceled' or 'failed'
  local over = job.deadline_ms and now + delay >= tonumber(job.deadline_ms)
  local left, field, failed = 0, nil, nil
  if final == 'failed' and not guilty and not over then left, field, failed = retries_left(job, error, retryable) end
  if left > 0 then
    end_attempt(job, 'retry', error, now)
    if field then note(job, field, failed, 'budgeted', tonumber(job.budgeted or 0) + 1) end
    if string.find(error, '"worker_lost"', 1, true) then note(job, 'suspect', 1) end
    local word = answer(job, 'queued')
    requeue(job, delay, now)
    return word, left
  end
  end_attempt(job, final, error, now)
  if final == 'failed' then note(job, 'error', error) end
  local word = answer(job, final)
  finish(job, final, now)
  return word, 0
end

-- Releases the attempt, which does not count against max_attempts. The eleventh for the job's own cause fails it as a
-- lost worker's, so that no job is handed back for ever. Drains and neighbours' faults never count.
local function release_attempt(job, cause, now)
  if job.status == 'canceling' then return fail_attempt(job, '', false, 0, now) end
  local field = ({drain = 'drains', neighbour = 'neighbours'})[cause] or 'own'
  local before = tonumber(job[field] or 0)
  if field == 'own' and before >= 10 then
    local lost = {code = 'worker_lost', detail = 'workers gave the job back more than 10 times', retryable = true}
    return fail_attempt(job, cjson.encode(lost), true, 0, now)
  end
  end_attempt(job, 'released', '', now)
  note(job, field, before + 1, 'releases', tonumber(job.releases or 0) + 1)
  local word = answer(job, 'released')
  requeue(job, 0, now)
  return word
end

-- The job where the token's attempt is under way; else nil and the answer that the token got before, or 'lost'. Uploads of
-- a lost attempt `number` go to the trash, unless the record is compacted and no longer says whose outputs it lists.
local function owned(id, token, number, now)
  local job = load(id)
  if job and job.token == token then return job end
  local past = job and job['t:' .. token] or 'lost'
  if past == 'lost' and number and job and not job.shrunk then trash(job, number .. '-' .. string.sub(token, -8), now) end
  return nil, past
end
