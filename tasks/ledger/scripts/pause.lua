-- pause: starts no more jobs of a pool, a model or a tenant; running ones go on.
--
-- KEYS[1]  pauses   hash    bl:pauses
-- ARGV[1]  now      ms; 0 = Redis TIME
-- ARGV[2]  name     pool/<pool>, model/<kind>/<model> or tenant/<tenant>
-- ARGV[3]  reason   JSON text
-- ARGV[4]  most     pauses that there may be
--
-- Returns 1  paused now, or before with the reason given then
--         0  too many pauses
--         -1  not ready
if not ready() then return -1 end
local most, since = tonumber(ARGV[4]), num(clock(ARGV[1]))
if redis.call('HEXISTS', KEYS[1], ARGV[2]) == 1 then return 1 end
if redis.call('HLEN', KEYS[1]) >= most then return 0 end
redis.call('HSET', KEYS[1], ARGV[2], '{"since_ms": ' .. since .. ', "reason": ' .. ARGV[3] .. '}')
return 1
