-- limits: reads a tenant's rates and its use of each quota; writes nothing.
--
-- KEYS[1]  submits  string  bl:rate:<tenant>, the ms until which its submits are paid for
-- KEYS[2]  uploads  string  bl:rate:uploads:<tenant>, the same of its uploads
-- ARGV[1]  now      ms; 0 = Redis TIME
-- ARGV[2]  tenant
-- ARGV[3]  submits  a minute that the tenant may make; 0 for any number
-- ARGV[4]  uploads  a minute that the tenant may begin; 0 for any number
-- ARGV[5]  held     bytes of Redis that the tenant's records may take; 0 for any number
--
-- Returns {0, submits left, ms until all are, uploads left, ms until all are, waiting jobs, running jobs, bytes in the
--         bucket, bytes of records, bytes that its records may take, webhooks and deliveries undelivered}
--         {-1}  not ready
if not ready() then return {-1} end
local now, tenant, rates, told = clock(ARGV[1]), ARGV[2], {number(ARGV[3]), number(ARGV[4])}, {0}
local most_held = number(ARGV[5])
for i, rate in ipairs(rates) do
  local paid = rate > 0 and paid_until(KEYS[i], now) or now
  told[2 * i], told[2 * i + 1] = left_of(rate, paid, now), paid - now
end
local maxmemory = tonumber(redis.call('GET', 'bl:room') or select(2, memory()))
told[6], told[7] = parking.waiting(tenant), redis.call('SCARD', 'bl:running:' .. tenant)
told[8], told[9] = bytes_of('bl:stored', tenant), bytes_of('bl:held', tenant)
told[10], told[11] = share_of(most_held, maxmemory), bytes_of('bl:undelivered', tenant)
return told
