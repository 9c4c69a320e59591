-- begin_restore: deletes the epoch and gives one keeper the lease of a restore.
--
-- It does not compare the epoch. Called again with the same token it renews the lease.
--
-- KEYS[1]  restoring string  bl:restoring, the token of the keeper that restores
-- KEYS[2]  epoch     string  bl:epoch
-- KEYS[3]  replid    string  bl:epoch:replid
-- ARGV[1]  now       ms; 0 = Redis TIME (not used)
-- ARGV[2]  token     of the keeper
-- ARGV[3]  lease     ms
--
-- Returns {1, run_id, '<run_id> <master_replid>'}  the restore has begun on this server
--         {0}  another keeper restores
--         {2}  nothing to restore: the epoch is this server's
local life = whole(ARGV[3])
local run_id, replid = server()
if redis.call('GET', KEYS[1]) ~= ARGV[2] then
  local epoch = redis.call('MGET', KEYS[2], KEYS[3])
  if epoch[1] == run_id and epoch[2] == replid then return {2} end
  if not redis.call('SET', KEYS[1], ARGV[2], 'NX', 'PX', life) then return {0} end
end
redis.call('DEL', KEYS[2], KEYS[3])
redis.call('PEXPIRE', KEYS[1], life)
return {1, run_id, replid}
