-- replay_owed: owes the webhook or the delivery of an ended job again, or lets one that waits for its next try be tried now.
--
-- KEYS[1]  job      hash    bl:job:<id>
-- ARGV[1]  now      ms; 0 = Redis TIME
-- ARGV[2]  what     'webhook' or 'delivery'
-- ARGV[3]  tenant
-- ARGV[4]  id       of the job
--
-- Returns 1  it is tried now
--         0  the job has none for its end
--         2  the job has not ended
--         3  its URL is no longer known
--         -1  not ready
if not ready() then return -1 end
local now, what, tenant, id = clock(ARGV[1]), owed.known(ARGV[2]), ARGV[3], ARGV[4]
local key = owed.state(what, tenant, id)
local status, url, attempts = unpack(redis.call('HMGET', key, 'status', 'url', 'attempts'))
if status then
  local host = owed.host(url)
  if not host then return 3 end
  if status ~= 'pending' then
    redis.call('PERSIST', key)
    redis.call('HSET', key, 'status', 'pending', 'owed_ms', num(now), 'before', attempts)
    redis.call('HINCRBY', 'bl:undelivered', tenant, 1)
  end
  redis.call('HSET', key, 'next_ms', num(now))
  owed.try_at(what, tenant, host, id, now)
  return 1
end
local job = load(id)
if not job or job.tenant ~= tenant then return 3 end
if not job.ended_ms then return 2 end
return job[what] and owed.owe(what, tenant, id, job[what], job.status, job.retained_ms, now) and 1 or 0
