-- _quotas: a tenant's rate limits and quotas; stands behind _aside, for submit and upload.

-- Rate limits by the generic cell rate algorithm: each call pays 1 / rate of a minute, and a whole minute may be spent at
-- once. `paid` is the ms until which the calls so far are paid for.
local function paid_until(key, now) return math.max(now, tonumber(redis.call('GET', key) or 0) or 0) end
local function left_of(rate, paid, now) return rate > 0 and math.floor((now + 60000 - paid) * rate / 60000 + 1e-6) or 0 end
local function paid_again(rate, paid, now) return math.ceil(paid + 60000 / rate - now - 60000) end
local function pay(key, rate, paid)
  if rate == 0 then return paid end
  redis.call('SET', key, num(paid + 60000 / rate), 'PX', 60000)
  return paid + 60000 / rate
end

-- A tenant's bytes in a hash.
local function bytes_of(key, field) return tonumber(redis.call('HGET', key, field) or 0) end

-- Bytes that a tenant's records may take: a quarter of maxmemory at most; 0 for any number.
local function share_of(most_held, maxmemory)
  if most_held == 0 or maxmemory == 0 then return most_held end
  return math.min(most_held, math.floor(maxmemory / 4))
end

-- The answer of a submit of so many jobs that is refused; nil where it is not. `named`: keys of the uploads that they name,
-- which were charged when they were recorded; `size`: bytes that their records will be charged.
local function refusal(tenant, jobs, named, size, most_waiting, most_stored, most_held)
  local used, most = 0, tonumber(redis.call('GET', 'bl:room'))
  if not most then used, most = memory() end
  if most > 0 and used > 0.85 * most then return {-2, math.floor(100 * used / most)} end
  local waits = most_waiting > 0 and parking.waiting(tenant) or 0
  if most_waiting > 0 and waits + jobs > most_waiting then return {-4, waits} end
  local stored, brought = most_stored > 0 and bytes_of('bl:stored', tenant) or 0, 0
  for _, key in ipairs(most_stored > 0 and named or {}) do brought = brought + bytes_of('bl:stored:' .. tenant, string.match(key, '[^/]+$')) end
  if most_stored > 0 and stored - brought >= most_stored then return {-5, stored} end
  if most_held == 0 then return nil end
  local held, share = bytes_of('bl:held', tenant), share_of(most_held, most)
  if held + size > share then return {-7, held, share} end
end

-- Checks the arguments and the types of the keys of a submit before anything is written; raises. Returns the jobs in the
-- line, the doorbells in the queue, and what owed.given does.
local function check_submit(KEYS, ARGV, tenant, queue)
  if not queue then error('no line: ' .. ARGV[5], 0) end
  for _, i in ipairs({6, 8, 10, 11, 13, 17, 18, 19, 22, 23}) do number(ARGV[i]) end
  if ARGV[9] ~= '' then number(ARGV[9]) end
  whole(ARGV[15])
  local most_attempts, budgets = string.match(ARGV[12], '^(%S+) ?(.*)$')
  number(most_attempts)
  if not string.find(budgets, '^[%l%d_=,]*$') then error('no budgets: ' .. budgets, 0) end
  for i = 7, #KEYS do
    whole(ARGV[i + 17])
    redis.call('SCARD', KEYS[i])
  end
  redis.call('ZCARD', KEYS[4])
  if ARGV[20] ~= '' then redis.call('ZCARD', 'bl:dead:' .. tenant) end
  return redis.call('ZCARD', KEYS[2]), redis.call('LLEN', KEYS[3]), owed.given(ARGV, #KEYS + 19)
end
