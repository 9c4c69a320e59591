-- count: what a tenant has in the bucket under one name, as a look at the bucket has found it.
--
-- KEYS[1]  stored   hash    bl:stored, bytes by tenant
-- KEYS[2]  names    hash    bl:stored:<tenant>, bytes by id of the job or the upload
-- ARGV[1]  now      ms; 0 = Redis TIME (not used)
-- ARGV[2]  tenant, [3] name, [4] bytes; 0: it is gone
--
-- Returns how many bytes the tenant has in all now, as text; 'not ready'.
if not ready() then return 'not ready' end
local known = redis.call('HGET', KEYS[2], ARGV[3]) or 0
if ARGV[4] == '0' then redis.call('HDEL', KEYS[2], ARGV[3]) else redis.call('HSET', KEYS[2], ARGV[3], ARGV[4]) end
return num(redis.call('HINCRBY', KEYS[1], ARGV[2], num(tonumber(ARGV[4]) - tonumber(known))))
