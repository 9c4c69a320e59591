-- commit: ends the attempt and its job as succeeded; the outputs are in the bucket.
--
-- KEYS[1]  job      hash    bl:job:<id>
-- ARGV[1]  now      ms; 0 = Redis TIME
-- ARGV[2]  id
-- ARGV[3]  token    of the attempt
-- ARGV[4]  result   JSON
-- ARGV[5]  outputs  JSON
-- ARGV[6]  metrics  JSON
-- ARGV[7]  bytes    of the outputs
-- ARGV[8]  number   of the attempt, whose uploads go to the trash where it is lost; 0 leaves them
-- ARGV[9]  message  '=' and the attempt's last message, which may be empty; '' leaves the one that is there
--
-- Returns 'succeeded'
--         the first answer, for a token whose attempt has ended
--         'lost'  the token never had the job, or a sweep took it
--         'not ready'
if not ready() then return 'not ready' end
local now, bytes = clock(ARGV[1]), tonumber(whole(ARGV[7]))
local job, past = owned(ARGV[2], ARGV[3], ARGV[8] ~= '0' and ARGV[8], now)
if not job then return past end
free_slot(job)
end_attempt(job, 'succeeded', '', now)
note(job, 'result', ARGV[4], 'outputs', ARGV[5], 'metrics', ARGV[6], 'progress', '1')
if ARGV[9] ~= '' then note(job, 'message', string.sub(ARGV[9], 2)) end
if bytes > 0 then charge('bl:stored', job.tenant, job.id, bytes) end
charge('bl:held', job.tenant, job.id, size_of(job))
local word = answer(job, 'succeeded')
finish(job, 'succeeded', now)
return word
