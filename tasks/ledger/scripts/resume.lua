-- resume: ends a pause. The keeper unparks a tenant's jobs.
--
-- KEYS[1]  pauses   hash    bl:pauses
-- ARGV[1]  now      ms; 0 = Redis TIME (not used)
-- ARGV[2]  name     as pause had it
--
-- Returns 1  resumed, or not paused
--         -1  not ready
if not ready() then return -1 end
redis.call('HDEL', KEYS[1], ARGV[2])
return 1
