-- release: put a running job back into its line, with its old tag (no failure).
--
-- KEYS[1]  job      hash    bl:job:<id>
-- ARGV[1]  now      ms; 0 = Redis TIME
-- ARGV[2]  id, [3] token
-- ARGV[4]  cause: 'own' (also where a worker of an older release gives none) counts, 'drain' and 'neighbour' never do
--
-- Returns 'released', or 'canceled' for one that was canceling; after ten of its own 'queued' (the attempt counts) or
-- 'failed'; for a token whose attempt has ended its answer of then; 'lost'; 'not ready'.
if not ready() then return 'not ready' end
local job, past = owned(ARGV[2], ARGV[3])
if not job then return past end
free(job)
return release_attempt(job, ARGV[4], clock(ARGV[1]))
