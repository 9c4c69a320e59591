-- _owed: the messages that tenants are owed for ends of jobs: webhooks and deliveries; stands behind _reading, before _common.
--
-- `what` is 'webhook' or 'delivery'. Of each `bl:<what>s` orders tenants, `bl:<what>s:<tenant>` its hosts or buckets,
-- `bl:<what>s:<tenant>:<host>` the jobs, each by the ms of its earliest try. The state of one is `bl:<what>:<tenant>:<job>`.
-- A record's `webhook` is '<events> <url>', where `events` has a letter of each: c for completed, s for started, p for
-- progress (_passing); its `delivery` is the URL.
local owed = {}
local INDEX = {webhook = 'bl:webhooks', delivery = 'bl:deliveries'}

-- The host, with its port, of a URL, or its bucket; the key of its line; the key of a state.
function owed.host(url) return string.match(url or '', '^https?://([^/?#%s]+)') or string.match(url or '', '^s3://([^/%s]+)/%S*$') end
function owed.line(what, tenant, host) return INDEX[what] .. ':' .. tenant .. ':' .. host end
function owed.state(what, tenant, id) return 'bl:' .. what .. ':' .. tenant .. ':' .. id end

-- Raises where `what` is neither.
function owed.known(what) return INDEX[what] and what or error('nothing that is owed: ' .. what, 0) end

-- Orders a host and its tenant by their earliest tries.
function owed.order(what, tenant, host)
  local hosts = INDEX[what] .. ':' .. tenant
  for _, step in ipairs({{owed.line(what, tenant, host), hosts, host}, {hosts, INDEX[what], tenant}}) do
    local first = beside({id = step[1]}, 'ZRANGE', step[1], 0, 0, 'WITHSCORES')
    if type(first) == 'table' and first[2] then beside({id = step[2]}, 'ZADD', step[2], first[2], step[3])
    else beside({id = step[2]}, 'ZREM', step[2], step[3]) end
  end
end

-- Puts one into its line, to be tried at the ms `at`.
function owed.try_at(what, tenant, host, id, at)
  beside({id = id}, 'ZADD', owed.line(what, tenant, host), num(at), id)
  owed.order(what, tenant, host)
end

-- Owes the webhook or the delivery of a job that has ended with `status`, once a job; no webhook that did not ask for
-- `completed`, and no delivery of a job that made nothing. `field`: the record's. `kept_ms`: until when its state is kept,
-- once it is told.
function owed.owe(what, tenant, id, field, status, kept_ms, now)
  local url = what == 'webhook' and string.match(field, '^%a*c%a* (%S+)$') or what == 'delivery' and status == 'succeeded' and field
  local host, state = owed.host(url or nil), owed.state(what, tenant, id)
  if not host or beside({id = id}, 'HSETNX', state, 'status', 'pending') == 0 then return false end
  redis.call('HSET', state, 'url', url, 'ended', status, 'owed_ms', num(now), 'kept_ms', kept_ms, 'next_ms', num(now),
    'attempts', 0, 'before', 0)
  redis.call('HINCRBY', 'bl:undelivered', tenant, 1)
  owed.try_at(what, tenant, host, id, now)
  return true
end

-- Lets the state of an erased job's webhook or delivery go in a day, or a day after it is told.
function owed.forget(what, tenant, id, now)
  local key = owed.state(what, tenant, id)
  local status = beside({id = id}, 'HGET', key, 'status')
  if status == 'pending' then redis.call('HSET', key, 'kept_ms', num(now))
  elseif status and status ~= 0 then
    redis.call('HDEL', key, 'url')
    redis.call('PEXPIRE', key, 86400000)
  end
end

-- The record's fields for the webhook and the delivery of a submit, and those that its tenant may have undelivered, which
-- stand from `place` of the arguments on; no field and nil where the job has neither. Raises.
function owed.given(arguments, place)
  local webhook, most, delivery = arguments[place], arguments[place + 1], arguments[place + 2]
  if not webhook then return {} end
  if webhook ~= '' and not owed.host(string.match(webhook, '^%a+ (http%S+)$')) then error('no webhook: ' .. webhook, 0) end
  if delivery and not owed.host(string.match(delivery, '^s3:%S+$')) then error('no delivery: ' .. delivery, 0) end
  local fields = webhook ~= '' and {'webhook', webhook} or {}
  if delivery then fields[#fields + 1], fields[#fields + 2] = 'delivery', delivery end
  return fields, number(most)
end

-- The answer of a submit whose tenant has too many undelivered; nil where it has not. `most`: 0 for any number, nil for a
-- job that has neither a webhook nor a delivery.
function owed.refusal(tenant, most)
  if not most or most == 0 then return nil end
  local undelivered = tonumber(redis.call('HGET', 'bl:undelivered', tenant) or 0)
  return undelivered >= most and {-8, undelivered} or nil
end
