-- count: what a tenant takes under one name, as a look at the bucket, or at the records, has found it.
--
-- KEYS[1]  stored   hash    bl:stored, bytes by tenant, with bl:stored:<tenant>, bytes by id of the job or the upload; or
--                           bl:held, the same of records
-- ARGV[1]  now      ms; 0 = Redis TIME (not used)
-- ARGV[2]  tenant, [3] name, [4] bytes; 0: it is gone
--
-- Returns how many bytes the tenant has in all now, as text; 'not ready'.
if not ready() then return 'not ready' end
return num(take(KEYS[1], ARGV[2], ARGV[3], tonumber(whole(ARGV[4]))))
