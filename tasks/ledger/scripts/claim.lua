-- claim: starts an attempt of the next job in the lines that this worker serves.
--
-- A job that must run alone gets a process with nothing beside it. A busy process does not get it, and gets nothing else
-- meanwhile, so that it becomes free; while the job runs nothing is handed out beside it.
-- A slot holds one claim: a new claim releases the job of the slot's last one.
--
-- KEYS[1]  slots    hash    bl:slots:<worker>
-- KEYS[2]  worker   hash    bl:worker:<worker>
-- KEYS[3]  leases   zset    bl:leases:<pool>
-- KEYS[4+] lines    zset    bl:line:<queue>:<model>, as many as ARGV[7]; then the idle zset of each queue
-- ARGV[1]  now      ms; 0 = Redis TIME
-- ARGV[2]  worker   its id
-- ARGV[3]  slot
-- ARGV[4]  token    of the attempt; tokens of one slot ascend
-- ARGV[5]  lease    ms
-- ARGV[6]  linger   ms for which the slot waits to be woken where no job waits; 0 not at all
-- ARGV[7]  lines    how many
-- ARGV[8]  running  attempts that a tenant may have; 0 for any number
-- ARGV[9]  shared   1: all slots of the worker are one process
-- ARGV[10] v        the newest form of a record that the worker reads
-- ARGV[11] lingered 0: the slot lingers in no queue, which saves a command a queue
-- ARGV[12+] most    jobs of each line that the worker may hold, in the lines' order; 0 for any number
--
-- Returns {1, id, field, value, ...}  what a worker needs of the job's record; for a token already given, its job again
--         {0}  nothing to start
--         {2}  ask again at once with the same token: a hundred jobs were parked
--         {-1}  not ready
local function granted(job)
  local checkpoint = job.checkpoint and {'checkpoint', job.checkpoint} or {}
  return {1, job.id, 'fixed', job.fixed, 'starts', num(tonumber(job.starts)), 'slot', job.slot, unpack(checkpoint)}
end
if not ready() then return {-1} end
local now, slot, token = clock(ARGV[1]), ARGV[3], ARGV[4]
local count, process = number(ARGV[7]), string.match(slot, '^(.*):')
for _, i in ipairs({5, 6, 8}) do number(ARGV[i]) end
if ARGV[11] ~= '0' then
  for i = 4 + count, #KEYS do redis.call('ZREM', KEYS[i], slot) end
end

local last, held = string.match(redis.call('HGET', KEYS[1], slot) or '', '^(%S+) (%S+)$')
if last == token then
  local job = read_or_set_aside('claim', held, now)
  return job and job.token == token and granted(job) or {0}
end
if last and token < last then return {0} end
local old = last and held ~= '-' and read_or_set_aside('claim', held, now)
if old and old.token == last then release_attempt(old, 'own', now) end
local worker = {id = ARGV[2], slots = KEYS[1], pool = string.sub(KEYS[3], 11), process = process, slot = slot,
  most_running = tonumber(ARGV[8]), v = number(ARGV[10]),
  lines = {unpack(KEYS, 4, 3 + count)}, most = {unpack(ARGV, 12)}}
local seen = redis.call('HMGET', KEYS[2], 'draining', 'alone:' .. process)
if seen[1] == '1' then return {0} end
if seen[2] and runs_beside(worker, seen[2], now) then return {0} end
if seen[2] then redis.call('HDEL', KEYS[2], 'alone:' .. process) end

local job, score, turn = next_job(worker, now)
if not job and score then return {2} end
local alone = job and must_be_alone(job, now)
if not job or alone and is_busy(worker, now) then
  local open = not job and tonumber(ARGV[6]) > 0 and open_idle_keys(worker) or {}
  for i = 4 + count, #KEYS do
    if open[KEYS[i]] then redis.call('ZADD', KEYS[i], num(now + tonumber(ARGV[6])), slot) end
  end
  return {0}
end
if alone then
  redis.call('HSET', KEYS[2], 'alone:' .. process, job.id)
  redis.call('PEXPIRE', KEYS[2], 3600000)
end
if turn.id ~= job.id then parking.swap(turn, job, score, now) end

-- The pool's clock follows the tags served. Each new job moves it by a fair share at least (1 / tenants waiting, which
-- have two fields each); otherwise jobs served ahead by priority would not move it, and a stream of them would starve the
-- rest.
local fair = 'bl:fair:' .. job.pool
local clock_was = tonumber(redis.call('HGET', fair, 'clock') or 0)
local share = job.starts and 0 or 1 / math.max(1, math.floor(redis.call('HLEN', fair) / 2))
leave_line(job)
redis.call('HSET', fair, 'clock', num(math.max(clock_was + share, math.min(tonumber(job.tag), score))))
start_attempt(job, worker, token, alone and ARGV[9] == '1', tonumber(ARGV[5]), now)
return granted(job)
