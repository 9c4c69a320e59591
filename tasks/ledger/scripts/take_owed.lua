-- take_owed: leases due webhooks or deliveries to a keeper, which sends them; those that are not told come again.
--
-- ARGV[1]  now      ms; 0 = Redis TIME
-- ARGV[2]  what     'webhook' or 'delivery'
-- ARGV[3]  lease    ms for which no other keeper gets them
-- ARGV[4]  keeper   its id
-- ARGV[5]  token    of this call: a repetition answers the same
-- ARGV[6+] lines    of each: tenant, host, and how many at most
--
-- Returns {{tenant, id, field, value, ...}, ...}  the state of each
--         {-1}  not ready
if not ready() then return {-1} end
local now, what, lease, taken = clock(ARGV[1]), owed.known(ARGV[2]), number(ARGV[3]), {}
if (#ARGV - 5) % 3 ~= 0 then error('not three values a line', 0) end
for i = 6, #ARGV, 3 do
  whole(ARGV[i + 2])
  redis.call('ZCARD', owed.line(what, ARGV[i], ARGV[i + 1]))
end
local key = 'bl:took:' .. ARGV[4] .. ':' .. what
local before, names = string.match(redis.call('GET', key) or '', '^(%S+) ?(.*)$')
if before ~= ARGV[5] then
  names = {}
  for i = 6, #ARGV, 3 do
    local tenant, host = ARGV[i], ARGV[i + 1]
    local line = owed.line(what, tenant, host)
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', line, '-inf', num(now), 'LIMIT', 0, ARGV[i + 2])) do
      if beside({id = id}, 'HGET', owed.state(what, tenant, id), 'status') == 'pending' then
        redis.call('ZADD', line, num(now + lease), id)
        names[#names + 1] = tenant .. ':' .. id
      else
        redis.call('ZREM', line, id)
      end
    end
    owed.order(what, tenant, host)
  end
  names = table.concat(names, ' ')
  redis.call('SET', key, ARGV[5] .. ' ' .. names, 'PX', num(lease))
end
for tenant, id in string.gmatch(names, '(%S-):(%S+)') do
  taken[#taken + 1] = {tenant, id, unpack(redis.call('HGETALL', owed.state(what, tenant, id)))}
end
return taken
