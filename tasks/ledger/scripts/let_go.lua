-- let_go: prepares the deletion of an erased job's objects: it lists no outputs any more, and its own stay while others do.
--
-- Outputs of an erased job that nobody lists any more go to the trash.
--
-- ARGV[1]  now      ms; 0 = Redis TIME
-- ARGV[2]  tenant
-- ARGV[3]  id       of the erased job
--
-- Returns the folder of its outputs, which other jobs list, so that it stays
--         ''  all of its objects may go
--         'not ready'
if not ready() then return 'not ready' end
local now, tenant, id = clock(ARGV[1]), ARGV[2], ARGV[3]
local citing, own = 'bl:citing:' .. tenant, 'bl:cited:' .. tenant .. ':' .. id
local owner, folder = string.match(redis.call('HGET', citing, id) or '', '^([^/]+)/([^/]+)$')
local is_cited = redis.call('EXISTS', own) == 1
if owner then
  local cited = 'bl:cited:' .. tenant .. ':' .. owner
  redis.call('SREM', cited, id)
  redis.call('HDEL', citing, id)
  if redis.call('SCARD', cited) == 1 and redis.call('SREM', cited, '-') == 1 then
    charge('bl:stored', tenant, owner, 0)
    redis.call('ZADD', 'bl:trash', num(now), 'tenants/' .. tenant .. '/jobs/' .. owner .. '/' .. folder .. '/')
  end
end
if not is_cited then return '' end
redis.call('SADD', own, '-')
for _, other in ipairs(redis.call('SRANDMEMBER', own, 2)) do
  local kept = string.match(redis.call('HGET', citing, other) or '', '^[^/]+/([^/]+)$')
  if kept then return kept end
end
return ''
