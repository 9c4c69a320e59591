-- tell_webhook: notes the outcome of one try of a webhook: told, or to be tried again.
--
-- ARGV[1]  now      ms; 0 = Redis TIME
-- ARGV[2]  tenant
-- ARGV[3]  id       of the job
-- ARGV[4]  number   of the try, from 1
-- ARGV[5]  outcome  delivered, failed or off, which are told; pending where it is tried again
-- ARGV[6]  delay    ms until the next try
-- ARGV[7]  kept     ms for which the state is kept at least, once it is told
-- ARGV[8]  answer   JSON of what the receiver answered
--
-- Returns 1  noted, now or before
--         0  nothing is owed
--         -1  not ready
if not ready() then return -1 end
local now, try, delay, kept = clock(ARGV[1]), number(ARGV[4]), number(ARGV[6]), number(ARGV[7])
local tenant, id, outcome = ARGV[2], ARGV[3], ARGV[5]
local key = 'bl:webhook:' .. tenant .. ':' .. id
local state = redis.call('HMGET', key, 'status', 'attempts', 'url', 'kept_ms')
local host = webhooks.host(state[3])
if not host then return 0 end
if tonumber(state[2]) >= try then return 1 end
if state[1] ~= 'pending' then return 0 end
redis.call('HSET', key, 'status', outcome, 'attempts', ARGV[4], 'answer', ARGV[8], 'answer_ms', num(now))
if outcome == 'pending' then
  redis.call('HSET', key, 'next_ms', num(now + delay))
  webhooks.try_at(tenant, host, id, now + delay)
  return 1
end
redis.call('HDEL', key, 'next_ms')
redis.call('PEXPIREAT', key, num(math.max(now + kept, tonumber(state[4]))))
beside({id = id}, 'ZREM', webhooks.line(tenant, host), id)
webhooks.order(tenant, host)
if redis.call('HINCRBY', 'bl:undelivered', tenant, -1) <= 0 then redis.call('HDEL', 'bl:undelivered', tenant) end
redis.call('XADD', 'bl:journal', '*', 'type', 'told', 'id', id, 'tenant', tenant, 'outcome', outcome)
return 1
