-- report: records the progress of a running attempt: phase, fraction, message, checkpoint, and what its text and its log go
-- on with.
--
-- Releases before this one cannot show the phase batching: `phase` is running then, and `batching` 1.
--
-- KEYS[1]  job      hash    bl:job:<id>
-- ARGV[1]  now      ms; 0 = Redis TIME
-- ARGV[2]  id
-- ARGV[3]  token    of the attempt
-- ARGV[4]  phase    or ''
-- ARGV[5]  progress 0-1, or ''
-- ARGV[6]  message  '=' and the message, which may be empty; '' leaves the last one
-- ARGV[7]  checkpoint bucket key of the newest; '-' before the first is written; or ''
-- ARGV[8]  text     that goes on behind the text so far, or ''
-- ARGV[9]  at       bytes of the attempt's text before it: what is sent again is not appended again
-- ARGV[10] log      that goes on behind the log so far, or ''
-- ARGV[11] log at   bytes of the attempt's log before it
--
-- Of a job whose webhook wants it, progress is passed on once a minute at most.
--
-- Returns 1  noted
--         2  noted, and the attempt is asked to stop
--         0  lost: the attempt is not this token's
--         -1  not ready
if not ready() then return -1 end
local now = clock(ARGV[1])
if ARGV[5] ~= '' then number(ARGV[5]) end
local piece, at = ARGV[8] or '', tonumber(whole(ARGV[9] or '0'))
local logged, log_at = ARGV[10] or '', tonumber(whole(ARGV[11] or '0'))
local seen = redis.call('HMGET', KEYS[1], 'token', 'status', 'phase', 'batching', 'starts', 'text', 'webhook', 'passed_ms', 'tenant', 'log')
local waits = ARGV[4] == 'batching'
local phase = waits and 'running' or ARGV[4]
if seen[1] ~= ARGV[3] then
  -- the checkpoint was written while the attempt ended: the next attempt may use it, or it goes with the job
  local job = ARGV[7] ~= '' and load(ARGV[2])
  if job and job.ended_ms then trash(job, 'checkpoints', now)
  elseif job then redis.call('HSETNX', KEYS[1], 'checkpoint', ARGV[7]) end
  return 0
end
if piece .. logged ~= '' then number(seen[5]) end
if phase ~= '' and (phase ~= seen[3] or waits ~= (seen[4] == '1')) then
  redis.call('HSET', KEYS[1], 'phase', phase, 'phase_ms', num(now))
  if waits then redis.call('HSET', KEYS[1], 'batching', 1) else redis.call('HDEL', KEYS[1], 'batching') end
end
if ARGV[5] ~= '' then redis.call('HSET', KEYS[1], 'progress', ARGV[5]) end
if ARGV[5] ~= '' and seen[7] and now - (seen[8] or 0) >= 60000 and owed.pass(seen[9], ARGV[2], seen[7], 'progress', now) then
  redis.call('HSET', KEYS[1], 'passed_ms', num(now))
end
if ARGV[6] ~= '' then redis.call('HSET', KEYS[1], 'message', string.sub(ARGV[6], 2)) end
local text = piece ~= '' and go_on('bl:text:' .. ARGV[2], seen[5], piece, at) or seen[6]
if text ~= seen[6] then redis.call('HSET', KEYS[1], 'text', text) end
local log = logged ~= '' and go_on('bl:log:' .. ARGV[2], seen[5], logged, log_at) or seen[10]
if log ~= seen[10] then redis.call('HSET', KEYS[1], 'log', log) end
if ARGV[4] .. ARGV[5] .. ARGV[6] .. piece .. logged ~= '' then redis.call('XADD', 'bl:changes', 'MAXLEN', '~', 1000, '*', 'id', ARGV[2]) end
if ARGV[7] ~= '' then redis.call(ARGV[7] == '-' and 'HSETNX' or 'HSET', KEYS[1], 'checkpoint', ARGV[7]) end
return seen[2] == 'canceling' and 2 or 1
