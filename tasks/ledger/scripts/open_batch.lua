-- open_batch: begins a batch whose body is whole; takes the quotas of all its lines, or none.
--
-- Until it is sealed its bytes are charged under its own id, and its lines that made no job yet count as waiting.
--
-- KEYS[1]  batch    hash    bl:batch:<tenant>:<id>
-- KEYS[2]  index    zset    bl:batches:<tenant>, batch id by the ms of its creation
-- KEYS[3]  looks    zset    bl:batches, <tenant>/<id> by the ms at which the keeper looks
-- KEYS[4]  receiving hash   bl:receiving:<tenant>, the lines of each batch that is being received
-- KEYS[5]  idem     string  bl:idem:<tenant>:<digest>; not used without a fingerprint
-- KEYS[6]  rate     string  bl:rate:<tenant>, the ms until which the submits so far are paid for
-- ARGV[1]  now      ms; 0 = Redis TIME
-- ARGV[2]  id
-- ARGV[3]  tenant
-- ARGV[4]  lines    that ask for a job
-- ARGV[5]  last     number of the last line
-- ARGV[6]  bytes    of the body
-- ARGV[7]  fingerprint of the body; '' without an Idempotency-Key
-- ARGV[8]  ms       for which the fingerprint is kept
-- ARGV[9]  patience ms after which the keeper cancels it, where it is not sealed
-- ARGV[10] rate     submits a minute that the tenant may make; 0 for any number
-- ARGV[11] waiting  jobs that the tenant may have waiting; 0 for any number
-- ARGV[12] stored   bytes that the tenant may have in the bucket; 0 for any number
-- ARGV[13] held     bytes of Redis that the tenant's records may take, as for submit; 0 for any number; then, of
--          webhook  a batch with one alone: 'c <url>', and those that the tenant may have undelivered, 0 for any number
--
-- Returns {1, id, left, ms}  open, now or before; submits left of the tenant's minute, and the ms until all are
--         {2, id, fingerprint}  the Idempotency-Key belongs to that batch
--         {-2, ...} to {-8, ...}  refused, as submit has it
--         {-1}  not ready
if not ready() then return {-1} end
local now, id, tenant, lines = clock(ARGV[1]), ARGV[2], ARGV[3], number(ARGV[4])
for i = 5, 13 do if i ~= 7 then whole(ARGV[i]) end end
local messages, most_undelivered = owed.given(ARGV, 14)
redis.call('ZCARD', KEYS[2])
redis.call('HLEN', KEYS[4])
local rate = tonumber(ARGV[10])
local paid = rate > 0 and paid_until(KEYS[6], now) or now
local function left() return left_of(rate, paid, now) end
if redis.call('HEXISTS', KEYS[1], 'lines') == 1 then return {1, id, left(), paid - now} end
local holder, fingerprint
if ARGV[7] ~= '' then holder, fingerprint = string.match(redis.call('GET', KEYS[5]) or '', '^(%S+) (%S+)') end
if holder and holder ~= id then return {2, holder, fingerprint} end
local bytes = 1024 * lines + tonumber(ARGV[6])
local refused = refusal(tenant, lines, {}, bytes, tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[13]))
  or owed.refusal(tenant, most_undelivered)
if refused then return refused end
if rate > 0 and left() < lines then return {-3, math.ceil(paid + lines * 60000 / rate - now - 60000)} end
paid = pay(KEYS[6], rate / lines, paid)

redis.call('HSET', KEYS[1], 'id', id, 'tenant', tenant, 'lines', ARGV[4], 'last', ARGV[5], 'created_ms', num(now),
  'key', ARGV[7] ~= '' and KEYS[5] or '', 'fingerprint', ARGV[7], unpack(messages))
redis.call('ZADD', KEYS[2], num(now), id)
redis.call('ZADD', KEYS[3], num(now + ARGV[9]), tenant .. '/' .. id)
redis.call('HSET', KEYS[4], id, ARGV[4])
charge('bl:held', tenant, id, bytes)
if ARGV[7] ~= '' then redis.call('SET', KEYS[5], id .. ' ' .. ARGV[7], 'PX', ARGV[8]) end
redis.call('XADD', 'bl:journal', '*', 'type', 'batch', unpack(redis.call('HGETALL', KEYS[1])))
return {1, id, left(), paid - now}
