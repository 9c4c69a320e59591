-- put_schedule: writes a schedule whole, or deletes it, and journals that.
--
-- KEYS[1]  schedule hash    bl:schedule:<tenant>:<id>
-- KEYS[2]  index    zset    bl:schedules:<tenant>, schedule id by the ms of its creation
-- KEYS[3]  due      zset    bl:schedules, <tenant>/<id> by the ms at which the keeper looks
-- ARGV[1]  now      ms; 0 = Redis TIME (not used)
-- ARGV[2]  id
-- ARGV[3]  tenant
-- ARGV[4]  change   id of this change
-- ARGV[5]  base     id of the change before, on which this one builds; '' for a new schedule
-- ARGV[6]  content  JSON; '' deletes the schedule
-- ARGV[7]  created  ms
-- ARGV[8]  next     ms of the next run; '' for none
-- ARGV[9]  most     schedules that the tenant may have
-- ARGV[10] token    of a keeper that restores, compared in place of the epoch, with no base and no limits; or ''
--
-- Returns {1}  written or deleted, now or before
--         {2}  another change came between
--         {3, schedules}  the tenant has so many
--         {-2, percent}  Redis' memory is nearly full
--         {-1}  not ready
local restoring = ARGV[10] ~= ''
if not (restoring and fenced(ARGV[10]) or not restoring and ready()) then return {-1} end
local id, tenant, change, deleted = ARGV[2], ARGV[3], ARGV[4], ARGV[6] == ''
number(ARGV[7])
number(ARGV[9])
if ARGV[8] ~= '' then number(ARGV[8]) end
local seen = redis.call('HGET', KEYS[1], 'change')
local count = redis.call('ZCARD', KEYS[2])
if seen == change or not seen and deleted then return {1} end
if not restoring then
  if (seen or '') ~= ARGV[5] then return {2} end
  if not seen and count >= tonumber(ARGV[9]) then return {3, count} end
  local refused = not seen and refusal(tenant, 0, {}, 0, 0, 0, 0)
  if refused then return refused end
end
local member = tenant .. '/' .. id
if deleted then
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[2], id)
else
  redis.call('HSET', KEYS[1], 'id', id, 'tenant', tenant, 'change', change, 'content', ARGV[6], 'next_ms', ARGV[8])
  redis.call('ZADD', KEYS[2], ARGV[7], id)
end
if ARGV[8] ~= '' and not deleted then redis.call('ZADD', KEYS[3], ARGV[8], member) else redis.call('ZREM', KEYS[3], member) end
redis.call('XADD', 'bl:journal', '*', 'type', 'schedule', 'id', id, 'tenant', tenant, 'change', change, 'content', ARGV[6],
  'created_ms', ARGV[7], 'next_ms', ARGV[8])
return {1}
