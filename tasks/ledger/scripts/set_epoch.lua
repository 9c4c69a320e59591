-- set_epoch: ends a restore: sets the epoch to the server on which it began.
--
-- KEYS[1]  restoring string  bl:restoring, the token of the keeper that restores
-- KEYS[2]  epoch     string  bl:epoch
-- KEYS[3]  replid    string  bl:epoch:replid
-- ARGV[1]  now       ms; 0 = Redis TIME (not used)
-- ARGV[2]  token     of the keeper
-- ARGV[3]  run_id    that begin_restore answered
-- ARGV[4]  replid    that begin_restore answered
--
-- Returns 1  set, now or before
--         0  another keeper restores, or this is another server
local run_id, replid = server()
if run_id ~= ARGV[3] or replid ~= ARGV[4] then return 0 end
local epoch = redis.call('MGET', KEYS[2], KEYS[3])
if epoch[1] == run_id and epoch[2] == replid then return 1 end
if redis.call('GET', KEYS[1]) ~= ARGV[2] then return 0 end
redis.call('MSET', KEYS[2], run_id, KEYS[3], replid)
redis.call('DEL', KEYS[1])
return 1
