-- _aside: jobs whose record is missing or cannot be read, so that they stop no other; set behind _parking.

-- Out of a line in which it should not be. Whose it was the tenants' indexes tell, where its record does not.
local function stray(line, id, tenant)
  if not redis.call('ZSCORE', 'bl:line:' .. line, id) then return end
  local pool = string.match(line, '^([^.:]+)')
  for _, field in ipairs(tenant and {} or redis.call('HKEYS', 'bl:fair:' .. pool)) do
    local one = string.match(field, '^jobs:(.+)$')
    if one and type(redis.pcall('ZSCORE', 'bl:jobs:' .. one, id)) == 'string' then tenant = one end
  end
  if tenant then return leave_line({id = id, line = line, pool = pool, tenant = tenant}) end
  redis.call('ZREM', 'bl:line:' .. line, id)
  redis.call('ZREM', 'bl:waiting:' .. pool, id)
end

local function leave_indexes(id, tenant)
  for _, line in ipairs(redis.call('SMEMBERS', 'bl:lines')) do
    stray(line, id, tenant)
    redis.call('ZREM', 'bl:leases:' .. string.match(line, '^[^.:]*'), id)
  end
  for _, key in ipairs({'bl:due', 'bl:expiries'}) do redis.call('ZREM', key, id) end
end

-- It leaves every index that leads to it; where enough is left of the record it has failed.
local function set_aside(verb, id, why, now)
  fault(verb, id, why or 'there is no record')
  local kept = fields(id) or {}
  leave_indexes(id, kept.tenant)
  if not kept.tenant or kept.ended_ms then return end
  kept.line, kept.pool, kept.tag, kept.keep_ms = kept.line or '', '', nil, tonumber(kept.keep_ms) or 86400000
  local words = 'the record of the job cannot be read: ' .. why
  set(kept, 'error', cjson.encode({code = 'ledger_fault', detail = words, retryable = false}))
  if kept.token then redis.call('HSET', 'bl:job:' .. id, 't:' .. kept.token, 'lost') end
  parking.ended(kept, now)
  finish(kept, 'failed', now)
end

-- The job for verbs that look at many: nil, and set aside, where it cannot be read.
local function one_of(verb, id, now)
  local job, why = read(id)
  if why then set_aside(verb, id, why, now) end
  return job
end
