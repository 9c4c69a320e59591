-- take_webhooks: leases due webhooks to a keeper, which sends them; those that are not told come again.
--
-- ARGV[1]  now      ms; 0 = Redis TIME
-- ARGV[2]  lease    ms for which no other keeper gets them
-- ARGV[3]  keeper   its id
-- ARGV[4]  token    of this call: a repetition answers the same webhooks
-- ARGV[5+] lines    of each: tenant, host, and how many at most
--
-- Returns {{tenant, id, field, value, ...}, ...}  the state of each
--         {-1}  not ready
if not ready() then return {-1} end
local now, lease, taken = clock(ARGV[1]), number(ARGV[2]), {}
if (#ARGV - 4) % 3 ~= 0 then error('not three values a line', 0) end
for i = 5, #ARGV, 3 do
  whole(ARGV[i + 2])
  redis.call('ZCARD', webhooks.line(ARGV[i], ARGV[i + 1]))
end
local key = 'bl:took:' .. ARGV[3]
local before, names = string.match(redis.call('GET', key) or '', '^(%S+) ?(.*)$')
if before ~= ARGV[4] then
  names = {}
  for i = 5, #ARGV, 3 do
    local tenant, host = ARGV[i], ARGV[i + 1]
    local line = webhooks.line(tenant, host)
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', line, '-inf', num(now), 'LIMIT', 0, ARGV[i + 2])) do
      if beside({id = id}, 'HGET', 'bl:webhook:' .. tenant .. ':' .. id, 'status') == 'pending' then
        redis.call('ZADD', line, num(now + lease), id)
        names[#names + 1] = tenant .. ':' .. id
      else
        redis.call('ZREM', line, id)
      end
    end
    webhooks.order(tenant, host)
  end
  names = table.concat(names, ' ')
  redis.call('SET', key, ARGV[4] .. ' ' .. names, 'PX', num(lease))
end
for tenant, id in string.gmatch(names, '(%S-):(%S+)') do
  taken[#taken + 1] = {tenant, id, unpack(redis.call('HGETALL', 'bl:webhook:' .. tenant .. ':' .. id))}
end
return taken
