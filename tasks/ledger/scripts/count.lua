-- count: sets the bytes charged to a tenant for one thing, as found in the bucket or in the records.
--
-- KEYS[1]  total    hash    bl:stored, bytes by tenant, with bl:stored:<tenant>, bytes by id of the job or the upload; or
--                           bl:held and bl:held:<tenant>, bytes of records
-- ARGV[1]  now      ms; 0 = Redis TIME (not used)
-- ARGV[2]  tenant
-- ARGV[3]  name     id of the job or the upload
-- ARGV[4]  bytes    0: it is gone
--
-- Returns the bytes charged to the tenant in all now, as text
--         'not ready'
if not ready() then return 'not ready' end
return num(charge(KEYS[1], ARGV[2], ARGV[3], tonumber(whole(ARGV[4]))))
