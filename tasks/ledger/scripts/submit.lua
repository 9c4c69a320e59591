-- submit: record a job, put it into its line (or note when it is due), journal it; all or nothing.
--
-- KEYS[1]  job     hash    bl:job:<id>
-- KEYS[2]  line    zset    bl:line:<queue>:<model>
-- KEYS[3]  queue   list    Celery's list of doorbells; only its length is read
-- KEYS[4]  index   zset    bl:jobs:<tenant>
-- KEYS[5]  idem    string  bl:idem:<tenant>:<digest>; not used without a fingerprint
-- KEYS[6]  rate    string  bl:rate:<tenant>, the ms until which the submits so far are paid for
-- KEYS[7+] uploads set     bl:upload:<tenant>/<id> of each upload that the job names
-- ARGV[1]  now     ms; 0 = Redis TIME
-- ARGV[2]  id
-- ARGV[3]  fixed   JSON that never changes
-- ARGV[4]  tenant, [5] line, [6] priority, [7] start_ms or '', [8] queue_ttl ms, [9] deadline ms or '',
-- ARGV[10] run timeout ms, [11] retention ms, [12] max attempts, [13] bells wanted at most
-- ARGV[14] fingerprint of the request, or '' without an Idempotency-Key, [15] how long that is kept, ms
-- ARGV[16] the token of a keeper that restores, which is asked in place of the epoch and of limits; '' for none; 'ask': only whether it
--          would be recorded
-- ARGV[17] submits a minute that the tenant may make, [18] jobs that it may have waiting; 0 for any
-- ARGV[19] bytes that it may have in the bucket; 0 for any number
-- ARGV[20] id of the job that this one retries, which is a dead letter no longer; or '', [21] 1 only if it is one yet,
-- ARGV[22] bytes of Redis that the tenant's records may take, at most a quarter of maxmemory; 0 for any number
-- ARGV[23] the form of the record, its `v`; then the bytes of each upload
--
-- Returns {1, id, 1|0, left, ms} recorded (now or before), whether a doorbell is needed, and of the tenant's minute how
-- many submits are left and in how many ms all will be; {2, id, fingerprint} the key belongs to that job; {3, id} to
-- one that is still being uploaded; {-2, percent} memory is nearly full; {-3, ms} the next submit is paid for then;
-- {-4, waiting} the tenant has so many jobs waiting; {-5, bytes} it has so much in the bucket; {-6} the job retried is
-- no dead letter; {-7, bytes, most} its records take so much of Redis and may take so much; {-1} not ready.
local asking, restoring = ARGV[16] == 'ask', ARGV[16] ~= 'ask' and ARGV[16] ~= ''
if not (restoring and fenced(ARGV[16]) or not restoring and ready()) then return {-1} end
local now = clock(ARGV[1])
local id, tenant, queue = ARGV[2], ARGV[4], string.match(ARGV[5], '^([^:]+):.')
check_submit(tenant, queue)
local function bell_needed()
  if wake(queue, now) then return 0 end
  local wanted = math.min(redis.call('ZCARD', KEYS[2]), tonumber(ARGV[13]))
  return redis.call('LLEN', KEYS[3]) < wanted and 1 or 0
end

local rate, paid = tonumber(ARGV[17]), paid_until(KEYS[6], now)
local function left() return left_of(rate, paid, now) end

if redis.call('EXISTS', KEYS[1]) == 1 then return {1, id, bell_needed(), left(), paid - now} end
-- A restore is blocked by no key: one that is only held the journal knows better, one that was used stays as it is.
local first, print, uploading
if ARGV[14] ~= '' then first, print, uploading = string.match(redis.call('GET', KEYS[5]) or '', '^(%S+) (%S+)(.*)$') end
local foreign = first and first ~= id
if foreign and restoring then fault('submit', id, 'its Idempotency-Key is held by ' .. first)
elseif foreign then return uploading == '' and {2, first, print} or {3, first} end
if not restoring then
  local named = {unpack(KEYS, 7)}
  local refused = refusal(tenant, named, 1024 + #ARGV[3], tonumber(ARGV[18]), tonumber(ARGV[19]), tonumber(ARGV[22]))
  if refused then return refused end
  if ARGV[21] == '1' and not redis.call('ZSCORE', 'bl:dead:' .. tenant, ARGV[20]) then return {-6} end
  if rate > 0 and left() < 1 then return {-3, paid_again(rate, paid, now)} end
  if asking then return {1, id, 0, left(), paid - now} end
  paid = pay(KEYS[6], rate, paid)
end

local job = {id = id, tenant = tenant, line = ARGV[5], priority = ARGV[6], queue = queue, pool = string.match(queue, '^[^.]+')}
local start = tonumber(ARGV[7]) or now
local start_by = num(math.max(start, now) + ARGV[8])
set(job, 'fixed', ARGV[3], 'tenant', tenant, 'line', ARGV[5], 'priority', ARGV[6], 'created_ms', num(now),
  'start_by_ms', start_by, 'run_ms', ARGV[10], 'keep_ms', ARGV[11], 'max', ARGV[12], 'v', ARGV[23])
-- a restored job may have a checkpoint of an attempt from before, which goes with it
if restoring then set(job, 'checkpoint', '-') end
if ARGV[9] ~= '' then set(job, 'deadline_ms', num(now + ARGV[9])) end
redis.call('ZADD', 'bl:expiries', num(math.min(tonumber(start_by), tonumber(job.deadline_ms or start_by))), id)
redis.call('ZADD', KEYS[4], num(now), id)
redis.call('SADD', 'bl:lines', ARGV[5])
redis.call('HSET', 'bl:pools', job.pool, 1)
redis.call('ZREM', 'bl:dead:' .. tenant, ARGV[20])
for i = 7, #KEYS do
  redis.call('SADD', KEYS[i], id)
  take('bl:stored', tenant, string.match(KEYS[i], '[^/]+$'), tonumber(ARGV[i + 17]))
end
take('bl:held', tenant, id, size_of(job))
if ARGV[14] ~= '' and not (foreign and uploading == '') then redis.call('SET', KEYS[5], id .. ' ' .. ARGV[14], 'PX', ARGV[15]) end
redis.call('XADD', 'bl:journal', '*', 'type', 'accepted', 'id', id, 'fixed', ARGV[3], 'created_ms', num(now),
  'key', ARGV[14] ~= '' and KEYS[5] or '', 'fingerprint', ARGV[14])
if start > now then
  event(job, 'scheduled')
  wait_until(job, start)
  return {1, id, 0, left(), paid - now}
end
enter_line(job, now)
event(job, 'queued')
return {1, id, bell_needed(), left(), paid - now}
