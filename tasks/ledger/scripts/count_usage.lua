-- count_usage: writes counters of usage and moves the cursor of the ends that are counted, in one step.
--
-- Only the keeper that knows the cursor as it is can move it, so that no end is counted twice. The counters are given as
-- they are to be: Lua's numbers would round large sums.
--
-- KEYS[1]  counted  string  bl:usage:counted, the stream id of the last end that is counted
-- KEYS[2]  changed  hash    bl:usage, <tenant>:<month> of each month with counters -> the cursor of its last change
-- ARGV[1]  now      ms; 0 = Redis TIME (not used)
-- ARGV[2]  from     the cursor as the keeper has read it; 0-0 where there is none
-- ARGV[3]  upto     the cursor as it becomes
-- ARGV[4+] of each month: <tenant>:<month>, the ms at which it goes, and how many fields follow; each with its value
--
-- Returns 1  counted, now or before
--         0  the cursor is another
--         -1  not ready
if not ready() then return -1 end
local counted = string.match(redis.call('GET', KEYS[1]) or '', '^%d+%-%d+$') or '0-0'
if counted == ARGV[3] then return 1 end
if counted ~= ARGV[2] then return 0 end
if not string.match(ARGV[3], '^%d+%-%d+$') then error('no stream id: ' .. ARGV[3], 0) end
local months, i, name = {}, 4, ARGV[4]
while name do
  local count = tonumber(whole(ARGV[i + 2]))
  if count < 1 or not ARGV[i + 2 + 2 * count] then error('fields are missing', 0) end
  months[#months + 1] = {name = name, goes = whole(ARGV[i + 1]), first = i + 3, last = i + 2 + 2 * count}
  i = i + 3 + 2 * count
  name = ARGV[i]
end
for _, month in ipairs(months) do
  local key = 'bl:usage:' .. month.name
  beside({id = month.name}, 'HSET', key, unpack(ARGV, month.first, month.last))
  redis.call('PEXPIREAT', key, month.goes)
  redis.call('HSET', KEYS[2], month.name, ARGV[3])
end
redis.call('SET', KEYS[1], ARGV[3])
return 1
