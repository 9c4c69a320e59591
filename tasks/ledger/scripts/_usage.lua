-- _usage: keeps of each attempt the time that it took, for the counters of usage; stands behind _record.
--
-- A success costs nothing here: its metrics stand in the record.

-- JSON for the entry of an attempt that does not succeed: its worker's metrics or, where the worker had no last word, the
-- phase in which it was cut off.
local function time_taken(job)
  if job.metrics then return ',"metrics":' .. job.metrics end
  local phase = job.batching == '1' and 'batching' or string.match(job.phase or '', '^%a+$')
  return phase and job.phase_ms and ',"phase":"' .. phase .. '","phase_ms":' .. num(tonumber(job.phase_ms)) or ''
end

-- Adds an attempt that leaves the record to its field `past`: ms in a slot, running and loading, ms of a first attempt, and
-- bytes of inputs.
local function keep_past(job, attempt)
  local metrics = type(attempt.metrics) == 'table' and attempt.metrics or {}
  local ended = tonumber(attempt.ended_ms) or 0
  local function cut_off(phase)
    return attempt.phase == phase and tonumber(attempt.phase_ms) and math.max(0, ended - attempt.phase_ms) or 0
  end
  local took = math.max(0, ended - (tonumber(attempt.started_ms) or ended))
  local more = {took, (tonumber(metrics.run_s) or 0) * 1000 + cut_off('running'),
    (tonumber(metrics.load_s) or 0) * 1000 + cut_off('loading'), attempt.number == 1 and took or 0,
    tonumber(metrics.bytes_in) or 0}
  local i = 0
  for sum in string.gmatch(job.past or '0 0 0 0 0', '%S+') do
    i = i + 1
    more[i] = num(math.floor((tonumber(sum) or 0) + (more[i] or 0) + 0.5))
  end
  note(job, 'past', table.concat(more, ' '))
end
