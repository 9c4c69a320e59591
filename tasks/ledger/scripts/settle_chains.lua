-- settle_chains: tells jobs that wait for ended ones: the last source that succeeds enqueues them, any other end fails them.
--
-- A job that fails so is an ended one whose own dependents come next, in this call or a later one.
--
-- KEYS[1]  settling zset    bl:settling
-- ARGV[1]  now      ms; 0 = Redis TIME
-- ARGV[2]  most     jobs to tell
--
-- Returns {more, queue, ...}  more 1: some are left; the queues that want a doorbell
--         {-1}  not ready
if not ready() then return {-1} end
local now, left, answer = clock(ARGV[1]), number(ARGV[2]), {0}
while true do
  local member = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', num(now), 'LIMIT', 0, 1)[1]
  if not member then return answer end
  if left <= 0 then
    answer[1] = 1
    return answer
  end
  local tenant, id = string.match(member, '^([^/]+)/(.+)$')
  local done, told, queues = pcall(chains.settle, tenant or '', id or '', now, left)
  if not done then
    fault('settle_chains', member, type(told) == 'table' and told.err or tostring(told))
    redis.call('ZADD', KEYS[1], num(now + 60000), member)
    return answer
  end
  for _, queue in ipairs(queues) do answer[#answer + 1] = queue end
  if told < left then redis.call('ZREM', KEYS[1], member) end
  left = left - math.max(1, told)
end
