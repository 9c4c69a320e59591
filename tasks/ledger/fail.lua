-- fail: the attempt has failed: the job is queued for a retry, or has failed; one that is canceling is canceled.
--
-- KEYS[1]  job      hash    bl:job:<id>
-- ARGV[1]  now      ms; 0 = Redis TIME
-- ARGV[2]  id, [3] token, [4] error JSON, [5] retryable 1|0, [6] delay before a retry ms, [7] metrics JSON or ''
-- ARGV[8]  number of the attempt, or 0: where it is lost, what it has uploaded goes
--
-- Returns 'queued', 'failed' or 'canceled'; for a token whose attempt has ended its answer of then; 'lost'; 'not ready'.
if not ready() then return 'not ready' end
local now = clock(ARGV[1])
local job, past = owned(ARGV[2], ARGV[3], ARGV[8] ~= '0' and ARGV[8], now)
if not job then return past end
free(job)
if ARGV[7] ~= '' then set(job, 'metrics', ARGV[7]) end
return fail_attempt(job, ARGV[4], ARGV[5] == '1', tonumber(ARGV[6]), now)
