-- _closed: the lines from which a worker may get no job now; stands behind _parking, for claim alone.
--
-- The table `worker` is described in _next.

-- The places of closed lines: the model is paused, or the worker holds as many of its jobs as it may (two batches).
-- nil: the pool is paused.
local function closed_lines(worker)
  local closed, limited, held = {}, false, {}
  if has_pauses() then
    local names = {'pool/' .. worker.pool}
    for i = 1, #worker.lines do
      local kind, model = string.match(worker.lines[i], '^bl:line:[^.]+%.([^:]+):([^@]+)')
      names[i + 1] = 'model/' .. (kind or '') .. '/' .. (model or '')
    end
    local paused = redis.call('HMGET', 'bl:pauses', unpack(names))
    if paused[1] then return nil end
    for i = 1, #worker.lines do closed[i] = paused[i + 1] and true or nil end
  end
  for i = 1, #worker.lines do limited = limited or (worker.most[i] or '0') ~= '0' end
  for _, value in ipairs(limited and redis.call('HVALS', worker.slots) or {}) do
    local token, id = string.match(value, '^(%S+) (%S+)$')
    local seen = id ~= '-' and redis.call('HMGET', 'bl:job:' .. id, 'token', 'line') or {}
    if token and seen[1] == token then
      local model = 'bl:line:' .. string.match(seen[2], '^[^@]+')
      held[model] = (held[model] or 0) + 1
    end
  end
  for i = 1, next(held) and #worker.lines or 0 do
    local most = tonumber(worker.most[i] or 0)
    if most > 0 and (held[string.match(worker.lines[i], '^[^@]+')] or 0) >= most then closed[i] = true end
  end
  return closed
end

-- The idle zsets of the queues that have an open line, as a set.
local function open_idle_keys(worker)
  local keys = {}
  for i = 1, worker.closed and #worker.lines or 0 do
    if not worker.closed[i] then keys['bl:idle:' .. string.match(worker.lines[i], '^bl:line:([^:]+)')] = true end
  end
  return keys
end
