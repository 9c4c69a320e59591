-- look: finds jobs of an index by status, kind and model, newest first; writes nothing.
--
-- It reads two fields a job and no request. A job whose status or line cannot be told is found too, so that the caller
-- reads its record and judges.
--
-- KEYS[1]  index    zset    bl:jobs:<tenant> or bl:dead:<tenant>
-- ARGV[1]  now      ms; 0 = Redis TIME (not used)
-- ARGV[2]  newest   ms of the newest entry, or '(' and ms that none has reached, or '+inf'
-- ARGV[3]  after    id: of the entries of exactly that ms, those below it alone; or ''
-- ARGV[4]  oldest   ms of the oldest entry, or '-inf'
-- ARGV[5]  status   or '' for any
-- ARGV[6]  kind     or '' for any
-- ARGV[7]  model    or '' for any
-- ARGV[8]  looks    entries to look at
-- ARGV[9]  most     jobs to find
--
-- Returns {more, looked, ms, id, found ms, found id, ...}  more 1: the index may go on; how many entries were looked at,
--                                                       and the last of them, '' where there was none
--         {-1}  not ready
if not ready() then return {-1} end
local status, kind, model, looks, most = ARGV[5], ARGV[6], ARGV[7], number(ARGV[8]), number(ARGV[9])
local of_kind, of_model, skip = kind ~= '' and '.' .. kind .. ':' or '', model ~= '' and ':' .. model .. '@' or '', 0
if ARGV[3] ~= '' then
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[2], ARGV[2])) do
    if id >= ARGV[3] then skip = skip + 1 end
  end
end
local function has(id, field, wanted)
  local seen = wanted ~= '' and redis.pcall('HGET', 'bl:job:' .. id, field)
  return type(seen) ~= 'string' or seen == wanted or field == 'line' and string.find(seen .. '@', wanted, 1, true)
end
local function fits(id)
  return has(id, 'status', status) and has(id, 'line', of_kind) and has(id, 'line', of_model)
end
local rows = redis.call('ZREVRANGEBYSCORE', KEYS[1], ARGV[2], ARGV[4], 'WITHSCORES', 'LIMIT', skip, looks)
local told, found, looked = {}, 0, 0
for i = 1, #rows, 2 do
  looked = looked + 1
  if fits(rows[i]) then
    told[#told + 1], told[#told + 2], found = rows[i + 1], rows[i], found + 1
    if found == most then break end
  end
end
local more = (#rows == 2 * looks or 2 * looked < #rows) and 1 or 0
return {more, looked, rows[2 * looked] or '', rows[2 * looked - 1] or '', unpack(told)}
