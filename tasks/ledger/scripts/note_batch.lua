-- note_batch: notes a step of a batch: that it is sealed, is to be canceled or erased, or that its webhook is told.
--
-- Whatever is noted stays as it was noted first. Sealed, its quotas are those of the jobs that it has made.
--
-- KEYS[1]  batch    hash    bl:batch:<tenant>:<id>
-- KEYS[2]  looks    zset    bl:batches, <tenant>/<id> by the ms at which the keeper looks
-- KEYS[3]  receiving hash   bl:receiving:<tenant>
-- KEYS[4]  rate     string  bl:rate:<tenant>
-- ARGV[1]  now      ms; 0 = Redis TIME
-- ARGV[2]  id
-- ARGV[3]  tenant
-- ARGV[4]  step     'sealed', 'canceled', 'erased' or 'told'
-- ARGV[5]  keep     ms for which it is kept behind its end
-- ARGV[6]  rate     submits a minute that the tenant may make; 0 for any number
--
-- Returns {1, field, value, ...}  noted, now or before; the batch
--         {0}  the tenant has no such batch
--         {-1}  not ready
if not ready() then return {-1} end
local now, id, tenant, field = clock(ARGV[1]), ARGV[2], ARGV[3], ARGV[4] .. '_ms'
local keep, rate = whole(ARGV[5]), number(ARGV[6])
if not ({sealed_ms = 1, canceled_ms = 1, erased_ms = 1, told_ms = 1})[field] then error('no step of a batch: ' .. field, 0) end
local lines = redis.call('HGET', KEYS[1], 'lines')
if not lines then return {0} end
if redis.call('HSETNX', KEYS[1], field, num(now)) == 1 then
  if field == 'sealed_ms' then
    local made = made_by(tenant, id)
    local refused = math.max(0, tonumber(lines) - made)
    redis.call('HSET', KEYS[1], 'refused', num(refused), 'keep_ms', keep)
    if made == 0 then redis.call('HSET', KEYS[1], 'ended_ms', num(now)) end
    redis.call('HDEL', KEYS[3], id)
    charge('bl:held', tenant, id, 0)
    local paid = rate > 0 and tonumber(redis.call('GET', KEYS[4]) or 0) - refused * 60000 / rate or 0
    if paid > now then redis.call('SET', KEYS[4], num(paid), 'PX', 60000) end
    redis.call('XADD', 'bl:events', 'MAXLEN', '~', 300000, '*', 'id', id, 'status', 'sealed', 'tenant', tenant, 'batch', id)
  end
  redis.call('ZADD', KEYS[2], num(now), tenant .. '/' .. id)
  redis.call('XADD', 'bl:journal', '*', 'type', 'batch', unpack(redis.call('HGETALL', KEYS[1])))
end
return {1, unpack(redis.call('HGETALL', KEYS[1]))}
