-- _passing: the events of webhooks that are sent at most once; stands behind _owed, for claim and report.

-- Passes started or progress on to a keeper, which sends it at most once: the last thousand of a tenant, for a minute.
function owed.pass(tenant, id, webhook, event, now)
  local events, url = string.match(webhook, '^(%a+) (%S+)$')
  if not string.find(events or '', string.sub(event, 1, 1), 1, true) then return false end
  local key, one = 'bl:passing:' .. tenant, {id = id}
  beside(one, 'RPUSH', key, event .. ' ' .. num(now) .. ' ' .. id .. ' ' .. url)
  beside(one, 'LTRIM', key, -1000, -1)
  beside(one, 'PEXPIRE', key, 60000)
  beside(one, 'SADD', 'bl:passing', tenant)
  return true
end
