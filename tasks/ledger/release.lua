-- release: put a running job back into its line, with its old tag (shutdown, not a failure).
--
-- KEYS[1]  job      hash    bl:job:<id>
-- ARGV[1]  now      ms; 0 = Redis TIME
-- ARGV[2]  id, [3] token
--
-- Returns 'released', or 'canceled' for one that was canceling; after ten releases 'queued' (the attempt counts) or
-- 'failed'; for a token whose attempt has ended its answer of then; 'lost'; 'not ready'.
if not ready() then return 'not ready' end
local job, past = owned(ARGV[2], ARGV[3])
if not job then return past end
free(job)
return release_attempt(job, clock(ARGV[1]))
