-- _aside: sets aside jobs whose record is missing or cannot be read, so that they block no other; stands behind _parking.

-- Removes a job from a line in which it should not stand; `kept`: what is left of its record. Where it has no tenant, the
-- tenants' indexes tell it.
local function remove_stray(line, id, kept)
  if not redis.call('ZSCORE', 'bl:line:' .. line, id) then return end
  local pool, tenant, batch = string.match(line, '^([^.:]+)'), kept.tenant, kept.batch
  for _, field in ipairs(tenant and {} or redis.call('HKEYS', 'bl:fair:' .. pool)) do
    local one, flow = string.match(field, '^jobs:([^#]+)(#?.*)$')
    if one and type(redis.pcall('ZSCORE', 'bl:jobs:' .. one, id)) == 'string' then tenant, batch = one, flow ~= '' and id end
  end
  if tenant then return leave_line({id = id, line = line, pool = pool, tenant = tenant, batch = batch}) end
  redis.call('ZREM', 'bl:line:' .. line, id)
end

-- Removes the job from every line, lease and clock.
local function leave_indexes(id, kept)
  for _, line in ipairs(redis.call('SMEMBERS', 'bl:lines')) do
    remove_stray(line, id, kept)
    redis.call('ZREM', 'bl:leases:' .. string.match(line, '^[^.:]*'), id)
  end
  for _, key in ipairs({'bl:due', 'bl:expiries'}) do redis.call('ZREM', key, id) end
end

-- Removes the job from every index that leads to it; fails it where enough of its record is left.
local function set_aside(verb, id, why, now)
  fault(verb, id, why or 'there is no record')
  local kept = fields(id) or {}
  leave_indexes(id, kept)
  if not kept.tenant or kept.ended_ms then return end
  kept.pool = ''
  unset(kept, 'tag')
  note(kept, 'line', kept.line or '', 'keep_ms', num(tonumber(kept.keep_ms) or 86400000))
  local words = 'the record of the job cannot be read: ' .. why
  set(kept, 'error', cjson.encode({code = 'ledger_fault', detail = words, retryable = false}))
  if kept.token then set(kept, 't:' .. kept.token, 'lost') end
  parking.ended(kept, now)
  finish(kept, 'failed', now)
end

-- As `read`, for verbs about many jobs: a job that cannot be read is set aside, and nil.
local function read_or_set_aside(verb, id, now)
  local job, why = read(id)
  if why then set_aside(verb, id, why, now) end
  return job
end
