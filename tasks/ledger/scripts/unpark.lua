-- unpark: puts parked jobs of a tenant back into lines in which it has none, as many as it may start now.
--
-- KEYS[1]  parked   hash    bl:parked:<tenant>
-- ARGV[1]  now      ms; 0 = Redis TIME
-- ARGV[2]  tenant
-- ARGV[3]  running  attempts that the tenant may have; 0 for any number
-- ARGV[4]  most     jobs of each line
--
-- Returns how many went back
--         -1  not ready
if not ready() then return -1 end
local now, most = clock(ARGV[1]), tonumber(ARGV[4])
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('SREM', 'bl:parked', ARGV[2])
  return 0
end
return parking.refill(ARGV[2], math.min(most, parking.free(ARGV[2], tonumber(ARGV[3]))), now)
