-- _dispatch: does a list of calls in order; stands behind all verbs.
--
-- Each verb is a function of its keys and arguments, in the table `verbs`. A call that raises is a fault: Redis rolls
-- nothing back, so the calls before it hold, and none behind it is done unless they are independent.
--
-- ARGV[1]  epoch    that the connection was checked against, see _server; or ''
-- ARGV[2]  independent 1: a fault ends no other call
-- ARGV[3+] calls    each JSON [verb, [key, ...], [argument, ...]], all texts
--
-- Returns {0, answer}  of each call that was done
--         {1, words}   of the one that raised
local function dispatch(ARGV)
  local calls, replies = {}, {}
  trip = {epoch = ARGV[1]}
  for i = 3, #ARGV do calls[i - 2] = cjson.decode(ARGV[i]) end
  for i, call in ipairs(calls) do
    local done, answer = pcall(verbs[call[1]], call[2], call[3])
    replies[i] = done and {0, answer} or {1, type(answer) == 'table' and answer.err or tostring(answer)}
    if not done and ARGV[2] ~= '1' then break end
  end
  return replies
end
