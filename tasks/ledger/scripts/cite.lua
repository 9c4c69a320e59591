-- cite: answers a job by another that has done the same work, or finds out whether it leads or follows those that do it.
--
-- KEYS[1]  job      hash    bl:job:<id>
-- ARGV[1]  now      ms; 0 = Redis TIME
-- ARGV[2]  id
-- ARGV[3]  digest   of the work (tasks/same_work.py)
-- ARGV[4]  token    of the attempt, after its fetch; '' for a job that the same list has submitted
-- ARGV[5]  restoring token of a keeper that restores, compared in place of the epoch; or ''
--
-- Returns 'succeeded'  the job was cited, and has ended
--         'released'  it follows: it is queued, and waits for its leader
--         'leads'  it runs itself
--         the first answer, for a token whose attempt has ended
--         'lost'  the token never had the job, or a sweep took it
--         'none'  there is no such job, or it had ended otherwise
--         'not ready'
if not (ARGV[5] == '' and ready() or fenced(ARGV[5])) then return 'not ready' end
local now, digest, token = clock(ARGV[1]), ARGV[3], ARGV[4]
if not string.find(digest, '^%x+$') then error('no digest: ' .. digest, 0) end
local job, past = nil, 'none'
if token == '' then job = load(ARGV[2]) else job, past = owned(ARGV[2], token) end
if not job then return past end
if job.ended_ms then return job.cached_from and 'succeeded' or 'none' end
if job.follows then return 'released' end
if token == '' and (job.token or job.starts or job.status ~= 'queued') then return 'leads' end
if job.cache and job.cache ~= digest then same.leave(job, now) end
return same.join(job, digest, now)
