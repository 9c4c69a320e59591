-- unpark: a tenant's parked jobs go back into lines in which it has no turn, as many as it may start now.
--
-- KEYS[1]  parked   hash    bl:parked:<tenant>
-- ARGV[1]  now      ms; 0 = Redis TIME
-- ARGV[2]  tenant, [3] attempts a tenant may have running, 0 for any number, [4] how many of each line at most
--
-- Returns how many went back; -1 not ready.
if not ready() then return -1 end
local now, most = clock(ARGV[1]), tonumber(ARGV[4])
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('SREM', 'bl:parked', ARGV[2])
  return 0
end
return parking.refill(ARGV[2], math.min(most, parking.free(ARGV[2], tonumber(ARGV[3]))), now)
