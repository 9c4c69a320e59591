-- _same: jobs of one tenant that ask for the same work (`cache`) while it is done; stands behind _citing.
--
-- One of them leads: it waits and runs like any job. The others follow: they are queued, stand in no line and take no slot.
-- Where the leader succeeds they are cited. Otherwise the next one leads. Their keys:
--   bl:same:<tenant>:<digest>    zset  the living ones in the order in which they came; the first leads
--   bl:handing                   zset  <tenant>:<digest> whose leader has ended, with followers left

local CITED_A_TRIP = 10       -- followers that an end cites at once; the keeper cites the others

-- The living leader of the group, which is not `id`; removes those that have ended or gone.
local function leader_of(group, id)
  for _ = 1, 10 do
    local first = redis.call('ZRANGE', group, 0, 0)[1]
    if not first or first == id then return nil end
    local seen = redis.call('HMGET', 'bl:job:' .. first, 'status', 'ended_ms', 'follows')
    if seen[1] and not seen[2] then return first, seen[3] end
    redis.call('ZREM', group, first)
  end
end

-- Lets the job take part: 'succeeded' where it was cited, 'leads', or 'released' where it follows.
function same.join(job, digest, now)
  local group, done = 'bl:same:' .. name_of(job.tenant, digest), same.done(job.tenant, digest, now)
  local last = redis.call('ZREVRANGE', group, 0, 0, 'WITHSCORES')
  local leader, follows = nil, nil
  if not done then leader, follows = leader_of(group, job.id) end
  note(job, 'cache', digest)
  if done then
    if job.token then
      free_slot(job)
      end_attempt(job, 'succeeded', '', now)
      answer(job, 'succeeded')
    end
    cite(job, done, now)
    return 'succeeded'
  end
  if leader and job.status == 'canceling' then leader = nil end
  redis.call('ZADD', group, 'NX', num(math.max(now, tonumber(last[2] or 0) + 1)), job.id)
  if follows then redis.call('ZADD', 'bl:handing', num(now), name_of(job.tenant, digest)) end
  if leader then same.follow(job, now) else set(job) end
  return leader and 'released' or 'leads'
end

-- Takes the job out of its line, or its attempt back, which counts nowhere.
function same.follow(job, now)
  note(job, 'follows', 1)
  beside(job, 'SADD', 'bl:later:' .. job.tenant, job.id)
  if not job.token then
    leave_line(job)
    give_share_back(job)
    set(job, 'since_ms', num(now))
    return unset(job, 'tag')
  end
  free_slot(job)
  end_attempt(job, 'released', '', now)
  note(job, 'releases', tonumber(job.releases or 0) + 1, 'since_ms', num(now))
  answer(job, 'released')
  unset(job, 'token', 'phase', 'tag')
  event(job, 'queued')
end

-- Lets followers of an ended leader go on, so many at most: each is cited where the work is done; else the first leads.
function same.hand_on(tenant, digest, most, now)
  local name, led, cited = name_of(tenant, digest), 0, 0
  local group, done = 'bl:same:' .. name, same.done(tenant, digest, now)
  for _, id in ipairs(redis.call('ZRANGE', group, 0, most)) do
    local job = read(id)
    if not job or job.ended_ms then redis.call('ZREM', group, id)
    elseif not job.follows then led = led + 1
    elseif done and cited < most then
      redis.call('ZREM', group, id)
      cite(job, done, now)
      cited = cited + 1
    elseif not done and led == 0 then
      wait_no_longer(job)
      unset(job, 'follows')
      enter_line(job, now, job.since_ms)
      wake(job.queue, now)
      led = 1
    end
    if led > 0 and not done then break end
  end
  local is_left = redis.call('ZCARD', group) > led and (done or led == 0)
  if is_left then redis.call('ZADD', 'bl:handing', num(now), name) else redis.call('ZREM', 'bl:handing', name) end
  return cited
end

-- Takes a job that ends, or that does other work, out of its group.
function same.leave(job, now)
  local group = 'bl:same:' .. name_of(job.tenant, job.cache)
  if job.status == 'succeeded' and not job.cached_from then remember(job, 'ran', now) end
  local first = beside(job, 'ZRANGE', group, 0, 0)
  if type(first) ~= 'table' or redis.call('ZREM', group, job.id) == 0 or first[1] ~= job.id then return end
  if redis.call('EXISTS', group) == 0 then return end
  local before = trip.cited or 0
  trip.cited = before + same.hand_on(job.tenant, job.cache, math.max(0, CITED_A_TRIP - before), now)
end
