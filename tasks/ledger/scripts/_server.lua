-- _server: the server's time, memory and identity, and whether the epoch is its own; stands first.

-- What one list of calls has found: {epoch, is_ready, ms, any_parked, any_pause}. The dispatcher begins each list with a new
-- table. No other local outside of a function changes after the text was loaded, as a Redis Function keeps it for years.
local trip

-- ms since 1970: the time given by a test, or Redis' TIME where that is 0; one time for the whole list.
local function clock(given)
  if given ~= '0' then return tonumber(given) end
  if trip.ms then return trip.ms end
  local t = redis.call('TIME')
  trip.ms = t[1] * 1000 + math.floor(t[2] / 1000)
  return trip.ms
end

-- The hexadecimal digits behind a name in INFO's text. A plain find: a pattern would try every character before it.
local function info_value(text, name)
  local _, at = string.find(text, name, 1, true)
  return at and string.match(text, '^%x+', at + 1)
end

-- Bytes of memory that Redis uses, and its maxmemory, 0 where it has none.
local function memory()
  local text = redis.call('INFO', 'memory')
  return tonumber(info_value(text, '\nused_memory:')), tonumber(info_value(text, '\nmaxmemory:'))
end

-- This server's run_id, and '<run_id> <master_replid>'.
local function server()
  local run_id = info_value(redis.call('INFO', 'server'), '\nrun_id:')
  return run_id, run_id .. ' ' .. info_value(redis.call('INFO', 'replication'), '\nmaster_replid:')
end

-- Whether the epoch is this server's, so that the keeper has reconciled with it; else every verb answers 'not ready'.
--
-- A connection that was checked when it was made (checking.py) sends the epoch that it found, as `trip.epoch`;
-- then one MGET is enough, since INFO takes as long as twenty commands. All others have '' there.
-- A keeper of the release before sets run_id alone: a replid that was set for another run_id is not compared.
local function compare()
  local epoch, checked = redis.call('MGET', 'bl:epoch', 'bl:epoch:replid'), trip.epoch
  if checked ~= '' then return epoch[2] == checked and epoch[1] == string.match(checked, '^%S+') end
  local run_id, replid = server()
  return epoch[1] == run_id and (epoch[2] == replid or string.sub(epoch[2] or '', 1, #run_id) ~= run_id)
end
local function ready()
  if trip.is_ready == nil then trip.is_ready = compare() end
  return trip.is_ready
end

-- Whether the token is that of the keeper that restores; compared in place of the epoch.
local function fenced(token) return token ~= '' and redis.call('GET', 'bl:restoring') == token end
