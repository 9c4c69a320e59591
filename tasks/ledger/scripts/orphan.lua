-- orphan: fails jobs of a line whose model no worker knows, once they have waited for such a worker.
--
-- KEYS[1]  line     zset    bl:line:<queue>:<model>
-- KEYS[2]  orphans  hash    bl:orphans
-- ARGV[1]  now      ms; 0 = Redis TIME
-- ARGV[2]  line     <queue>:<model>
-- ARGV[3]  wait     ms from when the line was found so, or from when the job came; '' the model is known again
-- ARGV[4]  error    JSON
-- ARGV[5]  most     jobs to look at
--
-- Returns how many have failed
--         -1  not ready
if not ready() then return -1 end
local now, wait, count = clock(ARGV[1]), tonumber(ARGV[3]), 0
if not wait or redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HDEL', KEYS[2], ARGV[2])
  return 0
end
whole(ARGV[5])
document(ARGV[4])
redis.call('HSETNX', KEYS[2], ARGV[2], num(now))
local since = tonumber(redis.call('HGET', KEYS[2], ARGV[2]))
if now - since < wait then return 0 end
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, tonumber(ARGV[5]) - 1)) do
  local job = read_or_set_aside('orphan', id, now)
  if job and now - math.max(since, tonumber(job.since_ms)) >= wait then
    set(job, 'error', ARGV[4])
    finish(job, 'failed', now)
    count = count + 1
  end
end
return count
