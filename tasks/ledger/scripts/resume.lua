-- resume: jobs of what was paused start again. The keeper brings back those that were parked.
--
-- KEYS[1]  pauses   hash    bl:pauses
-- ARGV[1]  now      ms; 0 = Redis TIME (not used)
-- ARGV[2]  name     as pause had it
--
-- Returns 1 (also where nothing of that name is paused), -1 not ready.
if not ready() then return -1 end
redis.call('HDEL', KEYS[1], ARGV[2])
return 1
