-- fail: ends the attempt as failed: the job is queued for a retry, or failed, or canceled where it was canceling.
--
-- A job that was alone in its process when that ended is guilty of it if it had lost a process before: it has failed for
-- good. A tenant that has cost a pool three processes in ten minutes runs alone there for ten.
--
-- KEYS[1]  job      hash    bl:job:<id>
-- ARGV[1]  now      ms; 0 = Redis TIME
-- ARGV[2]  id
-- ARGV[3]  token    of the attempt
-- ARGV[4]  error    JSON
-- ARGV[5]  retryable 1|0
-- ARGV[6]  delay    ms before a retry
-- ARGV[7]  metrics  JSON or ''
-- ARGV[8]  number   of the attempt, whose uploads go to the trash where it is lost; 0 leaves them
-- ARGV[9]  killed   1: its process was killed because of it
--
-- Returns 'queued', 'failed' or 'canceled'
--         the first answer, for a token whose attempt has ended
--         'lost'  the token never had the job, or a sweep took it
--         'not ready'
if not ready() then return 'not ready' end
local now, delay = clock(ARGV[1]), number(ARGV[6])
document(ARGV[4])
if ARGV[7] ~= '' then document(ARGV[7]) end
local job, past = owned(ARGV[2], ARGV[3], ARGV[8] ~= '0' and ARGV[8], now)
if not job then return past end
free_slot(job)
if ARGV[7] ~= '' then note(job, 'metrics', ARGV[7]) end
local error, alone = ARGV[4], job.alone and string.find(ARGV[4], '"worker_lost"', 1, true)
if alone and job.suspect then
  local guilty = cjson.decode(error)
  guilty.detail = guilty.detail .. '; nothing else ran in it, and the job had lost one before: it is not tried again'
  guilty.retryable = false
  error = cjson.encode(guilty)
end
if alone or ARGV[9] == '1' then
  local key, alone_key = 'bl:cost:' .. job.pool .. ':' .. job.tenant, 'bl:alone:' .. job.pool .. ':' .. job.tenant
  redis.call('LPUSH', key, num(now))
  redis.call('LTRIM', key, 0, 2)
  redis.call('PEXPIRE', key, 600000)
  local third = redis.call('LINDEX', key, 2)
  if third and now - third < 600000 then redis.call('SET', alone_key, num(now + 600000), 'PX', 600000) end
end
return (fail_attempt(job, error, ARGV[5] == '1', delay, now, error ~= ARGV[4]))
