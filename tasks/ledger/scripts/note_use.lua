-- note_use: records the last use of an API key.
--
-- KEYS[1]  uses     hash    bl:keys:used, ms of the last use by the key's id
-- ARGV[1]  now      ms; 0 = Redis TIME
-- ARGV[2]  id       of the API key
--
-- Returns 1  recorded
--         -1  not ready
if not ready() then return -1 end
redis.call('HSET', KEYS[1], ARGV[2], num(clock(ARGV[1])))
return 1
