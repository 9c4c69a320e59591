-- commit: the attempt is done, its outputs are in the bucket: the job has succeeded.
--
-- KEYS[1]  job      hash    bl:job:<id>
-- ARGV[1]  now      ms; 0 = Redis TIME
-- ARGV[2]  id, [3] token, [4] result JSON, [5] outputs JSON, [6] metrics JSON, [7] bytes of the outputs
-- ARGV[8]  number of the attempt, or 0: where it is lost, what it has uploaded goes
--
-- Returns 'succeeded'; for a token whose attempt has ended its answer of then; 'lost' where it never owned the job
-- or a sweep took it; 'not ready'.
if not ready() then return 'not ready' end
local now, bytes = clock(ARGV[1]), tonumber(whole(ARGV[7]))
local job, past = owned(ARGV[2], ARGV[3], ARGV[8] ~= '0' and ARGV[8], now)
if not job then return past end
free(job)
end_attempt(job, 'succeeded', '', now)
set(job, 'result', ARGV[4], 'outputs', ARGV[5], 'metrics', ARGV[6], 'progress', '1')
if bytes > 0 then take('bl:stored', job.tenant, job.id, bytes) end
take('bl:held', job.tenant, job.id, size_of(job))
local word = answer(job, 'succeeded')
finish(job, 'succeeded', now)
return word
