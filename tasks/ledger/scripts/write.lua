-- write: runs plain commands in order, all under the epoch.
--
-- ARGV[1]  now      ms; 0 = Redis TIME (not used)
-- ARGV[2]  token    of the keeper that restores, compared in place of the epoch; or ''
-- ARGV[3+] commands each as the number of its words, then its words
--
-- Returns {0, answer, ...}  of each command
--         {-1}  not ready
if not (ARGV[2] == '' and ready() or fenced(ARGV[2])) then return {-1} end
local answers, i, next = {0}, 3, ARGV[3]
while next do
  local words = tonumber(whole(next))
  local done = redis.call(unpack(ARGV, i + 1, i + words))
  answers[#answers + 1] = type(done) == 'table' and done.ok or done or ''
  i = i + words + 1
  next = ARGV[i]
end
return answers
