-- _so_far: the texts of a running attempt that grow, what its model makes and what it logs; for report.
--
-- Each is one string: eight digits, the attempt's number, and the text, 64 KiB at most.

-- Appends a piece behind the first `at` bytes of the attempt's text; what is sent again is not appended again. Returns the
-- record's field for it: the attempt's number, with ' cut' behind it once no more fits.
local function go_on(key, number_of, piece, at)
  local attempt = string.format('%08d', number(number_of))
  local known = redis.call('GETRANGE', key, 0, 7) == attempt
  if at + #piece > 65536 then return number_of .. ' cut' end
  if at == 0 and not known then redis.call('SET', key, attempt .. piece, 'EX', 86400)
  elseif known and redis.call('STRLEN', key) == 8 + at then redis.call('APPEND', key, piece) end
  return number_of
end
