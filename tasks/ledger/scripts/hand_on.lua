-- hand_on: lets followers of one leader that has ended go on: they are cited, or the next one leads.
--
-- An end cites some itself; the keeper calls this for the others, in small steps.
--
-- KEYS[1]  handing  zset    bl:handing
-- ARGV[1]  now      ms; 0 = Redis TIME
-- ARGV[2]  most     followers to cite
--
-- Returns how many leaders' followers are left
--         -1  not ready
if not ready() then return -1 end
local now, most = clock(ARGV[1]), tonumber(whole(ARGV[2]))
local name = redis.call('ZRANGE', KEYS[1], 0, 0)[1]
if not name then return 0 end
local tenant, digest = string.match(name, '^([^:]+):(%x+)$')
if tenant then same.hand_on(tenant, digest, most, now) else redis.call('ZREM', KEYS[1], name) end
return redis.call('ZCARD', KEYS[1])
