-- move: moves waiting jobs to the line of their model's pool now, in their order, with new fair tags.
--
-- KEYS[1]  line     zset    bl:line:<queue>:<model> in which they stand
-- ARGV[1]  now      ms; 0 = Redis TIME
-- ARGV[2]  line     <queue>:<model> into which they go
-- ARGV[3]  most     jobs to look at
--
-- Returns how many have moved
--         -1  not ready
if not ready() then return -1 end
local now, line, count = clock(ARGV[1]), ARGV[2], 0
if not string.match(line, '^[^.:]+%.[^:]+:.') then error('no line: ' .. line, 0) end
whole(ARGV[3])
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, tonumber(ARGV[3]) - 1)) do
  local job = read_or_set_aside('move', id, now)
  if job and 'bl:line:' .. job.line == KEYS[1] then
    leave_line(job)
    give_share_back(job)
    unset(job, 'tag', 'place')
    set(job, 'line', line)
    job.pool, job.queue = string.match(line, '^[^.]+'), string.match(line, '^[^:]+')
    enter_line(job, now, job.since_ms)
    count = count + 1
  end
end
redis.call('SADD', 'bl:lines', line)
redis.call('HSET', 'bl:pools', string.match(line, '^[^.]+'), 1)
return count
