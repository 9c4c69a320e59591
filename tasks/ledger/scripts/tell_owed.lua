-- tell_owed: notes the outcome of one try of a webhook or a delivery: told, or to be tried again.
--
-- ARGV[1]  now      ms; 0 = Redis TIME
-- ARGV[2]  what     'webhook' or 'delivery'
-- ARGV[3]  tenant
-- ARGV[4]  id       of the job
-- ARGV[5]  number   of the try, from 1
-- ARGV[6]  outcome  delivered, failed or off, which are told; pending where it is tried again
-- ARGV[7]  delay    ms until the next try
-- ARGV[8]  kept     ms for which the state is kept at least, once it is told
-- ARGV[9]  answer   JSON of what the receiver answered
--
-- Returns 1  noted, now or before
--         0  nothing is owed
--         -1  not ready
if not ready() then return -1 end
local now, what, try, delay, kept = clock(ARGV[1]), owed.known(ARGV[2]), number(ARGV[5]), number(ARGV[7]), number(ARGV[8])
local tenant, id, outcome = ARGV[3], ARGV[4], ARGV[6]
local key = owed.state(what, tenant, id)
local state = redis.call('HMGET', key, 'status', 'attempts', 'url', 'kept_ms')
local host = owed.host(state[3])
if not host then return 0 end
if tonumber(state[2]) >= try then return 1 end
if state[1] ~= 'pending' then return 0 end
redis.call('HSET', key, 'status', outcome, 'attempts', ARGV[5], 'answer', ARGV[9], 'answer_ms', num(now))
if outcome == 'pending' then
  redis.call('HSET', key, 'next_ms', num(now + delay))
  owed.try_at(what, tenant, host, id, now + delay)
  return 1
end
redis.call('HDEL', key, 'next_ms')
redis.call('PEXPIREAT', key, num(math.max(now + kept, tonumber(state[4]))))
beside({id = id}, 'ZREM', owed.line(what, tenant, host), id)
owed.order(what, tenant, host)
if redis.call('HINCRBY', 'bl:undelivered', tenant, -1) <= 0 then redis.call('HDEL', 'bl:undelivered', tenant) end
redis.call('XADD', 'bl:journal', '*', 'type', what == 'webhook' and 'told' or 'delivered', 'id', id, 'tenant', tenant, 'outcome', outcome)
return 1
