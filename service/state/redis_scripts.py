"""What the Redis store runs inside the server, each whole or not at all.

Every script may be sent twice: a client whose connection broke does not know whether it ran.
"""

ACQUIRE = """#!lua flags=allow-oom
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then return {} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return redis.call('TIME')
"""
"""Takes the lock for a token; the server's time, or nothing where another holds it."""

EXTEND = """#!lua flags=allow-oom
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
"""Keeps the lock for longer; 0 where it is another's now."""

RELEASE = """#!lua flags=allow-oom
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""

_COMMIT = """
if redis.call('EXISTS', KEYS[2]) == 1 then return 1 end
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local at = 2
while at <= #ARGV do
  local table = tonumber(ARGV[at + 1])
  local key = ARGV[at + 2]
  if ARGV[at] == 'put' then
    redis.call('HSET', KEYS[table + 1], key, ARGV[at + 3])
    redis.call('ZADD', KEYS[table], 0, key)
    at = at + 4
  else
    redis.call('HDEL', KEYS[table + 1], key)
    redis.call('ZREM', KEYS[table], key)
    at = at + 3
  end
end
redis.call('SET', KEYS[2], 1, 'EX', 60)
redis.call('DEL', KEYS[1])
return 1
"""
COMMIT = f"#!lua{_COMMIT}"
"""Writes what a transaction gathered, if the lock is still its own; 0 where it is not.

A server whose memory is full refuses it before its first line.
"""
COMMIT_DELETIONS = f"#!lua flags=allow-oom{_COMMIT}"
"""The same where nothing is put: what makes room goes through on a full server."""

RANGE = """#!lua flags=no-writes
local keys = redis.call(ARGV[1], KEYS[1], ARGV[2], ARGV[3], 'LIMIT', 0, ARGV[4])
if #keys == 0 then return {{}, {}} end
return {keys, redis.call('HMGET', KEYS[2], unpack(keys))}
"""

CHECK = """#!lua
return redis.call('TIME')
"""
"""Writes nothing, and is refused as a write is: on a replica, and where memory is full."""
