-- submit: records a job, journals it, and enqueues it or notes when it is due; all or nothing.
--
-- KEYS[1]  job      hash    bl:job:<id>
-- KEYS[2]  line     zset    bl:line:<queue>:<model>
-- KEYS[3]  queue    list    Celery's list of doorbells; only its length is read
-- KEYS[4]  index    zset    bl:jobs:<tenant>
-- KEYS[5]  idem     string  bl:idem:<tenant>:<digest>; not used without a fingerprint
-- KEYS[6]  rate     string  bl:rate:<tenant>, the ms until which the submits so far are paid for
-- KEYS[7+] uploads  set     bl:upload:<tenant>/<id> of each upload that the job names
-- ARGV[1]  now      ms; 0 = Redis TIME
-- ARGV[2]  id
-- ARGV[3]  fixed    JSON that never changes
-- ARGV[4]  tenant
-- ARGV[5]  line     <queue>:<model>
-- ARGV[6]  priority -10 to 10
-- ARGV[7]  start    ms, or ''; behind a blank the ids of the jobs that it names, where it names any, as chains.judge has them
-- ARGV[8]  queue_ttl ms
-- ARGV[9]  deadline ms, or ''
-- ARGV[10] run_timeout ms
-- ARGV[11] retention ms
-- ARGV[12] max_attempts, and behind a blank the retry budgets, 'worker_lost=5,...', where there are any
-- ARGV[13] bells    wanted at most
-- ARGV[14] fingerprint of the request; '' without an Idempotency-Key
-- ARGV[15] ms       for which the fingerprint is kept
-- ARGV[16] mode     token of a keeper that restores, compared in place of the epoch, with no limits; 'ask' for a dry run; or ''
-- ARGV[17] rate     submits a minute that the tenant may make; 0 for any number
-- ARGV[18] waiting  jobs that the tenant may have waiting; 0 for any number
-- ARGV[19] stored   bytes that the tenant may have in the bucket; 0 for any number
-- ARGV[20] retry_of id of the dead letter that this job retries, which it stops to be; or ''
-- ARGV[21] replay   1: only if that is a dead letter still
-- ARGV[22] held     bytes of Redis that the tenant's records may take, a quarter of maxmemory at most; 0 for any number
-- ARGV[23] v        the form of the record; then the bytes of each upload; then the batch whose member it is, or ''; then, of
--          webhook  or '', and those that the tenant may have undelivered, 0 for any number; then the delivery, where it has one.
--                   A job with neither has none of these
--
-- Returns {1, id, bell, left, ms}  recorded, now or before; bell 1: a doorbell is needed; submits left of the tenant's
--                                  minute, and the ms until all are
--         {2, id, fingerprint}  the Idempotency-Key belongs to that job
--         {3, id}  the Idempotency-Key belongs to that job, whose inputs are being uploaded
--         {-2, percent}  Redis' memory is nearly full
--         {-3, ms}  over the rate: the next submit is paid for in so many ms
--         {-4, waiting}  the tenant has so many jobs waiting
--         {-5, bytes}  the tenant has so much in the bucket
--         {-6}  the job to retry is no dead letter
--         {-7, bytes, most}  the tenant's records take so much of Redis and may take so much
--         {-8, count}  the tenant has so many webhooks and deliveries undelivered
--         {-9, id, status}  a job that it names has ended so, or is 'gone'; of a batch's member, and in a restore, it fails
--         {-1}  not ready
local asking, restoring = ARGV[16] == 'ask', ARGV[16] ~= 'ask' and ARGV[16] ~= ''
if not (restoring and fenced(ARGV[16]) or not restoring and ready()) then return {-1} end
local now = clock(ARGV[1])
local id, tenant, queue = ARGV[2], ARGV[4], string.match(ARGV[5], '^([^:]+):.')
local waiting, bells, messages, most_undelivered = check_submit(KEYS, ARGV, tenant, queue)
local function bell_needed(more)
  if wake(queue, now) then return 0 end
  return bells < math.min(waiting + more, tonumber(ARGV[13])) and 1 or 0
end

local rate = tonumber(ARGV[17])
local paid = rate > 0 and paid_until(KEYS[6], now) or now
local function left() return left_of(rate, paid, now) end
if redis.call('EXISTS', KEYS[1]) == 1 then return {1, id, bell_needed(0), left(), paid - now} end
-- No Idempotency-Key blocks a restore: a reserved one is overwritten, one that names another job stays.
local holder, fingerprint, uploading
if ARGV[14] ~= '' then holder, fingerprint, uploading = string.match(redis.call('GET', KEYS[5]) or '', '^(%S+) (%S+)(.*)$') end
local foreign = holder and holder ~= id
if foreign and restoring then fault('submit', id, 'its Idempotency-Key is held by ' .. holder)
elseif foreign then return uploading == '' and {2, holder, fingerprint} or {3, holder} end
local batch = ARGV[#KEYS + 18] or ''
local start, chain, broken = sources_of(ARGV[7], tenant, restoring or batch ~= '', now)
if broken then return broken end
if not restoring then
  local quotas = {tonumber(ARGV[18]), tonumber(ARGV[19]), tonumber(ARGV[22])}
  local refused = refusal(tenant, 1, {unpack(KEYS, 7)}, 1024 + #ARGV[3], unpack(quotas)) or owed.refusal(tenant, most_undelivered)
  if refused then return refused end
  if ARGV[21] == '1' and not redis.call('ZSCORE', 'bl:dead:' .. tenant, ARGV[20]) then return {-6} end
  if rate > 0 and left() < 1 then return {-3, paid_again(rate, paid, now)} end
  if asking then return {1, id, 0, left(), paid - now} end
  paid = pay(KEYS[6], rate, paid)
end
local job = {id = id, tenant = tenant, line = ARGV[5], priority = ARGV[6], queue = queue, pool = string.match(queue, '^[^.]+')}
local most_attempts, budgets = string.match(ARGV[12], '^(%S+) ?(.*)$')
if batch ~= '' then note(job, 'batch', batch) end
if budgets ~= '' then note(job, 'retry', budgets) end
note(job, 'fixed', ARGV[3], 'tenant', tenant, 'line', ARGV[5], 'priority', ARGV[6], 'created_ms', num(now),
  'start_by_ms', num(start + ARGV[8]), 'run_ms', ARGV[10], 'keep_ms', ARGV[11], 'max', most_attempts, 'v', ARGV[23], unpack(messages))
-- a restored job may have a checkpoint of an earlier attempt, which goes with it
if restoring then note(job, 'checkpoint', '-') end
if ARGV[9] ~= '' then note(job, 'deadline_ms', num(now + ARGV[9])) end
if chain then enter_chain(job, chain, start, now) end
if not job.waits then redis.call('ZADD', 'bl:expiries', num(math.min(start + ARGV[8], tonumber(job.deadline_ms or start + ARGV[8]))), id) end
redis.call('ZADD', KEYS[4], num(now), id)
if waiting == 0 then
  redis.call('SADD', 'bl:lines', ARGV[5])
  redis.call('HSET', 'bl:pools', job.pool, 1)
end
if ARGV[20] ~= '' then redis.call('ZREM', 'bl:dead:' .. tenant, ARGV[20]) end
for i = 7, #KEYS do
  redis.call('SADD', KEYS[i], id)
  charge('bl:stored', tenant, string.match(KEYS[i], '[^/]+$'), tonumber(ARGV[i + 17]))
end
charge('bl:held', tenant, id, size_of(job))
if ARGV[14] ~= '' and not (foreign and uploading == '') then redis.call('SET', KEYS[5], id .. ' ' .. ARGV[14], 'PX', ARGV[15]) end
redis.call('XADD', 'bl:journal', '*', 'type', 'accepted', 'id', id, 'fixed', ARGV[3], 'created_ms', num(now),
  'key', ARGV[14] ~= '' and KEYS[5] or '', 'fingerprint', ARGV[14])
if start > now or job.waits then
  event(job, 'scheduled')
  if not job.waits then wait_until(job, start) end
  return {1, id, 0, left(), paid - now}
end
enter_line(job, now)
event(job, 'queued')
return {1, id, bell_needed(1), left(), paid - now}
