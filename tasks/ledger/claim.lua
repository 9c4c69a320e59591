-- claim: the next job of the lines this worker serves; starts an attempt with the token given.
--
-- KEYS[1]  slots   hash    bl:slots:<worker>
-- KEYS[2]  worker  hash    bl:worker:<worker>
-- KEYS[3]  leases  zset    bl:leases:<pool>
-- KEYS[4+] lines   zset    bl:line:<queue>:<model>, as many as ARGV[7], then the idle zset of each queue
-- ARGV[1]  now     ms; 0 = Redis TIME
-- ARGV[2]  worker, [3] slot, [4] token (those of one slot ascend), [5] lease ms
-- ARGV[6]  linger  ms for which the slot will wait to be woken if there is nothing; 0 not at all
-- ARGV[7]  how many lines
--
-- A job whose process died is suspected of it, and runs next with nothing beside it: a process that is busy does not
-- get it and gets nothing else meanwhile, so that it becomes free; beside a suspect nothing is handed out.
--
-- Returns {1, id, field, value, ...} the record, for a token already given its job again; {0} nothing; {-1} not ready.
if not ready() then return {-1} end
local now, slot, token = clock(ARGV[1]), ARGV[3], ARGV[4]
local lines = tonumber(ARGV[7])
for i = 4 + lines, #KEYS do redis.call('ZREM', KEYS[i], slot) end

local last, held = string.match(redis.call('HGET', KEYS[1], slot) or '', '^(%S+) (%S+)$')
if last == token then
  local job = owned(held, token)
  return job and {1, held, unpack(job.flat)} or {0}
end
if last and token < last then return {0} end
local old = last and owned(held, last)
if old then release_attempt(old, 'own', now) end
local process = string.match(slot, '^(.*):')
local seen = redis.call('HMGET', KEYS[2], 'draining', 'alone:' .. process)
if seen[1] == '1' then return {0} end
local function beside(id)
  local other = load(id)
  return other and other.token and other.slot ~= slot and string.match(other.slot, '^(.*):') == process
end
if seen[2] and beside(seen[2]) then return {0} end
if seen[2] then redis.call('HDEL', KEYS[2], 'alone:' .. process) end

local best, id
for i = 4, 3 + lines do
  local head = redis.call('ZRANGE', KEYS[i], 0, 0, 'WITHSCORES')
  if head[1] and (not best or tonumber(head[2]) < best) then best, id = tonumber(head[2]), head[1] end
end
if not id then
  if tonumber(ARGV[6]) > 0 then
    for i = 4 + lines, #KEYS do redis.call('ZADD', KEYS[i], num(now + tonumber(ARGV[6])), slot) end
  end
  return {0}
end

-- The pool's clock follows the tags served, and moves by a fair share (1 / tenants waiting, two fields each) at each
-- new job at least: else jobs served ahead by their priority would not move it, and a stream of them starve the rest.
local job = load(id)
if job.suspect then
  for _, value in ipairs(redis.call('HVALS', KEYS[1])) do
    if beside(string.match(value, '(%S+)$')) then return {0} end
  end
  redis.call('HSET', KEYS[2], 'alone:' .. process, id)
end
local fair = 'bl:fair:' .. job.pool
local clock_was = tonumber(redis.call('HGET', fair, 'clock') or 0)
local share = job.starts and 0 or 1 / math.max(1, math.floor(redis.call('HLEN', fair) / 2))
leave_line(job)
redis.call('HSET', fair, 'clock', num(math.max(clock_was + share, math.min(tonumber(job.tag), best))))

local number = tonumber(job.starts or 0) + 1
redis.call('HDEL', 'bl:job:' .. id, 'retry_ms', 'progress', 'message', 'metrics')
set(job, 'starts', number, 'token', token, 'slot', slot, 'worker', ARGV[2], 'phase', 'running',
  'phase_ms', num(now), 'attempt_ms', num(now), 'loading_ms', 0, 'started_ms', job.started_ms or num(now),
  'queued_ms', num(tonumber(job.queued_ms or 0) + now - tonumber(job.since_ms)),
  'attempt:' .. number, cjson.encode({number = number, worker = ARGV[2], started_ms = now, token = token}))
forget_attempt(job, number - 50)
event(job, 'running')
redis.call('ZADD', KEYS[3], num(now + tonumber(ARGV[5])), id)
redis.call('HSET', KEYS[1], slot, token .. ' ' .. id)
if job.deadline_ms then redis.call('ZADD', 'bl:expiries', job.deadline_ms, id) else redis.call('ZREM', 'bl:expiries', id) end
return {1, id, unpack(redis.call('HGETALL', 'bl:job:' .. id))}
