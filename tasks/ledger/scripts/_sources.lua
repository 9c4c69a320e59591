-- _sources: the jobs that a submit names as sources, see _chains; stands behind it, for submit.

-- Judges the sources of a submit: ids with blanks between; 'id=' is a job that only the bucket knows, and that succeeded.
-- Returns {ids, waits, ended}, lists of ids: all, those that have not succeeded, and those of them that never will. The
-- answer of a refused submit, unless `takes_ended`. Writes nothing; raises.
local function judge(words, tenant, takes_ended)
  local given, known = {ids = {}, waits = {}, ended = {}, records = {}}, nil
  for id, kept in string.gmatch(words, '([^ =]+)(=?)') do
    known = redis.call('HMGET', 'bl:job:' .. id, 'tenant', 'status', 'ended_ms')
    redis.call('ZCARD', chains.key(tenant, id))
    local status = known[1] == tenant and known[2] or kept == '=' and 'succeeded' or 'gone'
    local has_ended = status == 'gone' or known[3]
    table.insert(given.ids, id)
    if known[1] == tenant then table.insert(given.records, id) end
    if status ~= 'succeeded' then
      if has_ended and not takes_ended then return nil, {-9, id, status} end
      table.insert(given.waits, id)
      if has_ended then table.insert(given.ended, id) end
    end
  end
  return given
end

-- The start of a submit: the ms; the sources that stand behind it, where there are any; the answer that refuses it.
local function sources_of(text, tenant, takes_ended, now)
  local start, words = string.match(text, '^(%S*) (.*)$')
  local given, refused
  if words then given, refused = judge(words, tenant, takes_ended) end
  start = start or text
  return math.max(start ~= '' and number(start) or now, now), given, refused
end

-- Notes the sources of a new job, and the job at each of them. While it waits, only a deadline is its clock.
local function enter_chain(job, given, start, now)
  local waits = {}
  for _, id in ipairs(given.waits) do waits[id] = true end
  note(job, 'sources', table.concat(given.ids, ' '))
  if given.waits[1] then
    note(job, 'waits', table.concat(given.waits, ' '), 'from_ms', num(start))
    beside(job, 'SADD', 'bl:later:' .. job.tenant, job.id)
    if job.deadline_ms then redis.call('ZADD', 'bl:expiries', job.deadline_ms, job.id) end
  end
  for _, id in ipairs(given.ids) do redis.call('ZADD', chains.key(job.tenant, id), waits[id] and 0 or 1, job.id) end
  for _, id in ipairs(given.records) do redis.call('HSET', 'bl:job:' .. id, 'needed', 1) end
  for _, id in ipairs(given.ended) do redis.call('ZADD', 'bl:settling', num(now), job.tenant .. '/' .. id) end
end
