-- settle: owes the webhooks or the deliveries of jobs that have ended, where their ends have not done so.
--
-- The scripts of this release do it in the end itself. The keeper calls this for ends that it finds in the journal: those
-- by a script of an older release, and those that were not told before Redis lost its memory.
--
-- ARGV[1]  now      ms; 0 = Redis TIME
-- ARGV[2]  token    of the keeper that restores, compared in place of the epoch; or ''
-- ARGV[3]  what     'webhook' or 'delivery'
-- ARGV[4+] ends     of each job, 50 at most: tenant, id, its field of that name, status, retained_ms, as its record has them
--
-- Returns how many are owed now that were not before
--         -1  not ready
if not (ARGV[2] == '' and ready() or fenced(ARGV[2])) then return -1 end
local now, what, count = clock(ARGV[1]), owed.known(ARGV[3]), 0
if (#ARGV - 3) % 5 ~= 0 then error('not five values a job', 0) end
for i = 4, #ARGV, 5 do number(ARGV[i + 4]) end
for i = 4, #ARGV, 5 do
  if owed.owe(what, ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], now) then count = count + 1 end
end
return count
