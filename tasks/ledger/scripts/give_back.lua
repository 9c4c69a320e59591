-- give_back: frees an Idempotency-Key whose inputs could not be stored, unless its job was recorded.
--
-- KEYS[1]  idem     string  bl:idem:<tenant>:<digest>
-- ARGV[1]  now      ms; 0 = Redis TIME (not used)
-- ARGV[2]  value    of the key while the inputs are uploaded
--
-- Returns 1  free, now or before
--         0  another job has it, or this one was recorded
--         -1  not ready
if not ready() then return -1 end
local held = redis.call('GET', KEYS[1])
if held == ARGV[2] then redis.call('DEL', KEYS[1]) end
return (not held or held == ARGV[2]) and 1 or 0
