-- upload: records a new upload, which the keeper deletes unless a job names it, and charges its bytes to the tenant.
--
-- KEYS[1]  uploads  zset    bl:uploads
-- KEYS[2]  rate     string  bl:rate:uploads:<tenant>, the ms until which the uploads so far are paid for
-- ARGV[1]  now      ms; 0 = Redis TIME
-- ARGV[2]  tenant
-- ARGV[3]  id       of the upload
-- ARGV[4]  bytes    0 where nobody said
-- ARGV[5]  kept     ms until the keeper asks whether a job names it
-- ARGV[6]  rate     uploads a minute that the tenant may begin; 0 for any number
-- ARGV[7]  stored   bytes that the tenant may have in the bucket; 0 for any number
--
-- Returns {1, left, ms}  recorded, now or before; uploads left of the tenant's minute, and the ms until all are
--         {-3, ms}  over the rate: the next upload is paid for in so many ms
--         {-5, bytes}  the tenant has so much in the bucket
--         {-1}  not ready
if not ready() then return {-1} end
local now, member = clock(ARGV[1]), ARGV[2] .. '/' .. ARGV[3]
local bytes, rate, most = tonumber(whole(ARGV[4])), number(ARGV[6]), number(ARGV[7])
number(ARGV[5])
local paid = paid_until(KEYS[2], now)
if redis.call('ZSCORE', KEYS[1], member) then return {1, left_of(rate, paid, now), paid - now} end
local stored = tonumber(redis.call('HGET', 'bl:stored', ARGV[2]) or 0)
if most > 0 and (stored >= most or stored + bytes > most) then return {-5, stored} end
if rate > 0 and left_of(rate, paid, now) < 1 then return {-3, paid_again(rate, paid, now)} end
paid = pay(KEYS[2], rate, paid)
redis.call('ZADD', KEYS[1], num(now + ARGV[5]), member)
if bytes > 0 then charge('bl:stored', ARGV[2], ARGV[3], bytes) end
return {1, left_of(rate, paid, now), paid - now}
