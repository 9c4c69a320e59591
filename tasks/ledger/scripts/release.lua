-- release: puts a running job back into its line, with its old tag; no failure.
--
-- The eleventh release for the job's own cause fails the attempt as a lost worker's.
--
-- KEYS[1]  job      hash    bl:job:<id>
-- ARGV[1]  now      ms; 0 = Redis TIME
-- ARGV[2]  id
-- ARGV[3]  token    of the attempt
-- ARGV[4]  cause    'own' counts, as does none from a worker of an older release; 'drain' and 'neighbour' never do
--
-- Returns 'released'
--         'canceled'  the job was canceling
--         'queued' or 'failed'  the eleventh for its own cause
--         the first answer, for a token whose attempt has ended
--         'lost'  the token never had the job, or a sweep took it
--         'not ready'
if not ready() then return 'not ready' end
local job, past = owned(ARGV[2], ARGV[3])
if not job then return past end
free_slot(job)
return release_attempt(job, ARGV[4], clock(ARGV[1]))
