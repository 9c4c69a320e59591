-- _webhooks: the webhooks that tenants are owed, in lines of tenant and host; stands behind _reading, before _common.
--
-- `bl:webhooks` orders tenants, `bl:webhooks:<tenant>` its hosts, `bl:webhooks:<tenant>:<host>` the jobs, each by the ms of
-- its earliest try. The state of one is `bl:webhook:<tenant>:<job>`. A record's `webhook` is '<events> <url>', where
-- `events` has a letter of each: c for completed, s for started, p for progress (_passing).
local webhooks = {}

-- The host, with its port, of a URL; and the key of its line.
function webhooks.host(url) return string.match(url or '', '^https?://([^/?#%s]+)') end
function webhooks.line(tenant, host) return 'bl:webhooks:' .. tenant .. ':' .. host end

-- Orders a host and its tenant by their earliest tries.
function webhooks.order(tenant, host)
  local hosts = 'bl:webhooks:' .. tenant
  for _, step in ipairs({{webhooks.line(tenant, host), hosts, host}, {hosts, 'bl:webhooks', tenant}}) do
    local first = beside({id = step[1]}, 'ZRANGE', step[1], 0, 0, 'WITHSCORES')
    if type(first) == 'table' and first[2] then beside({id = step[2]}, 'ZADD', step[2], first[2], step[3])
    else beside({id = step[2]}, 'ZREM', step[2], step[3]) end
  end
end

-- Puts a webhook into its line, to be tried at the ms `at`.
function webhooks.try_at(tenant, host, id, at)
  beside({id = id}, 'ZADD', webhooks.line(tenant, host), num(at), id)
  webhooks.order(tenant, host)
end

-- Owes the webhook of a job that has ended with `status`; once a job, and none that did not ask for `completed`.
-- `kept_ms`: until when its state is kept, once it is told.
function webhooks.owe(tenant, id, webhook, status, kept_ms, now)
  local url = string.match(webhook, '^%a*c%a* (%S+)$')
  local host, state = webhooks.host(url), 'bl:webhook:' .. tenant .. ':' .. id
  if not host or beside({id = id}, 'HSETNX', state, 'status', 'pending') == 0 then return false end
  redis.call('HSET', state, 'url', url, 'ended', status, 'owed_ms', num(now), 'kept_ms', kept_ms, 'next_ms', num(now),
    'attempts', 0, 'before', 0)
  redis.call('HINCRBY', 'bl:undelivered', tenant, 1)
  webhooks.try_at(tenant, host, id, now)
  return true
end

-- Lets the state of an erased job's webhook go in a day, or a day after it is told.
function webhooks.forget(tenant, id, now)
  local key = 'bl:webhook:' .. tenant .. ':' .. id
  local status = beside({id = id}, 'HGET', key, 'status')
  if status == 'pending' then redis.call('HSET', key, 'kept_ms', num(now))
  elseif status and status ~= 0 then
    redis.call('HDEL', key, 'url')
    redis.call('PEXPIRE', key, 86400000)
  end
end

-- The record's field for the webhook of a submit, and the webhooks that its tenant may have undelivered, which stand from
-- `place` of the arguments on; no field and nil where the job has none. Raises.
function webhooks.given(arguments, place)
  local webhook = arguments[place]
  if not webhook then return {} end
  if not webhooks.host(string.match(webhook, '^%a+ (%S+)$')) then error('no webhook: ' .. webhook, 0) end
  return {'webhook', webhook}, number(arguments[place + 1])
end

-- The answer of a submit whose tenant has too many webhooks undelivered; nil where it has not. `most`: 0 for any number,
-- nil for a job without one.
function webhooks.refusal(tenant, most)
  if not most or most == 0 then return nil end
  local undelivered = tonumber(redis.call('HGET', 'bl:undelivered', tenant) or 0)
  return undelivered >= most and {-8, undelivered} or nil
end
