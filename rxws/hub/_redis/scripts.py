"""The Lua scripts. Each runs in Redis as one step, so that no other client comes between.

A topic's keys are its `head` (a hash with the epoch and the newest offset), its stream of kept
messages and its hash of members. An entry's id in the stream is `offset-milliseconds`.
"""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

__all__ = [
    "ALL",
    "JOIN",
    "LEAVE",
    "MEMBERS",
    "PROBE",
    "PUBLISH",
    "READ",
    "RECONCILE",
    "SWEEP",
    "TOP",
]


class Script(NamedTuple):
    """A script and the name by which Redis knows it."""

    text: str
    sha: str


def _script(body: str, shebang: str = "#!lua flags=allow-oom") -> Script:
    # With a shebang Redis checks before the script runs whether it may write, and not in its midst.
    # When its memory is full, it must refuse messages, but not probes, reads and presence.
    text = f"{shebang}\n{body.strip()}"
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


_FENCE: Final = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local head = redis.call('HMGET', KEYS[1], 'fence', 'epoch', 'top')
local epoch, top = head[2], tonumber(head[3])
if head[1] ~= ARGV[1] then
    -- Redis was restarted or replaced: what it has lost is unknown, so positions start anew. The
    -- messages that it still has stay readable.
    epoch = string.sub(redis.sha1hex(ARGV[2] .. clock[1] .. clock[2] .. KEYS[1]), 1, 12)
    local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
    top = math.max(top or 0, last and tonumber(string.match(last[1], '%d+')) or 0)
    local began = string.format('%.0f', top)
    redis.call('HSET', KEYS[1], 'fence', ARGV[1], 'epoch', epoch, 'top', began,
        'began', began, 'before', head[2] or '')
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
"""
"""Set `now` in milliseconds, and `epoch` and `top` of the topic.

KEYS: head, stream. ARGV: fence, nonce, milliseconds until the head expires.
"""

# ARGV 4..: channel, count, milliseconds to keep, milliseconds to remember ids, and the kind, id and
# payload of each message.
PUBLISH: Final = _script(
    _FENCE
    + """
local channel, count, keep, remember = ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local reply = {epoch}
local stamp = string.format('-%.0f', now)
for i = 8, #ARGV, 3 do
    local kind, id, payload = ARGV[i], ARGV[i + 1], ARGV[i + 2]
    local seen = id ~= '' and KEYS[1] .. ':' .. id
    local offset = seen and redis.call('GET', seen)
    if not offset then
        top = top + 1
        offset = string.format('%.0f', top)
        redis.call('XADD', KEYS[2], 'MAXLEN', count, offset .. stamp, kind, payload)
        if seen then redis.call('SET', seen, offset, 'PX', remember) end
        redis.call('PUBLISH', channel, kind .. epoch .. ':' .. offset .. '\\n' .. payload)
    end
    reply[#reply + 1] = tonumber(offset)
end
redis.call('HSET', KEYS[1], 'top', string.format('%.0f', top), 'keep', keep)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('PEXPIRE', KEYS[2], keep)
return reply
""",
    shebang="#!lua",
)

TOP: Final = _script(
    _FENCE
    + """
redis.call('PEXPIRE', KEYS[1], ARGV[3], 'GT')
return {epoch, top}
"""
)

# ARGV 4..: the epoch and the offset after which to read, how many of the newest messages are meant
# (or "" for all), and how many messages and bytes to return now.
READ: Final = _script(
    _FENCE
    + """
local since, newest, count, max = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8]
local from = ARGV[4] == epoch and since <= top and since + 1 or 1
if newest then from = math.max(from, top - newest + 1) end
local more = redis.call('HMGET', KEYS[1], 'keep', 'before', 'began')
local oldest = now - tonumber(more[1] or 0)
local function is_old(entry) return tonumber(string.match(entry[1], '%d+$')) < oldest end
local function read(from)
    return redis.call('XRANGE', KEYS[2], string.format('%.0f', from), '+', 'COUNT', count)
end
local entries = read(from)
if entries[1] and is_old(entries[1]) then
    -- Offsets have no holes, and later messages are not older, unless the clock was set back.
    local low, high = tonumber(string.match(entries[1][1], '%d+')) + 1, top + 1
    while low < high do
        local middle = math.floor((low + high) / 2)
        local id = string.format('%.0f', middle)
        if is_old(redis.call('XREVRANGE', KEYS[2], id, '-', 'COUNT', 1)[1]) then
            low = middle + 1
        else
            high = middle
        end
    end
    entries = read(low)
end
local size, page = 0, {}
for i, entry in ipairs(entries) do
    size = size + #entry[2][2]
    if i > 1 and size > tonumber(max) then break end
    page[i] = entry
end
local is_cut = (#page < #entries or #page == count) and 1 or 0
return {epoch, top, more[2], tonumber(more[3]), is_cut, page}
"""
)

# KEYS: members, the topics of the process. ARGV: process, channel, topic, id, value.
JOIN: Final = _script(
    """
redis.call('SADD', KEYS[2], ARGV[3])
if redis.call('HSET', KEYS[1], ARGV[1] .. ':' .. ARGV[4], ARGV[5]) == 1 then
    redis.call('PUBLISH', ARGV[2], 'j' .. ARGV[5])
end
"""
)

# The same, and ARGV[6]: "1" if this was the process's last member of the topic.
LEAVE: Final = _script(
    """
if redis.call('HDEL', KEYS[1], ARGV[1] .. ':' .. ARGV[4]) == 1 then
    redis.call('PUBLISH', ARGV[2], 'l' .. ARGV[5])
end
if ARGV[6] == '1' then redis.call('SREM', KEYS[2], ARGV[3]) end
"""
)

# KEYS as for JOIN. ARGV: process, channel, topic, then the id and the value of each member.
RECONCILE: Final = _script(
    """
local prefix, wanted = ARGV[1] .. ':', {}
for i = 4, #ARGV, 2 do wanted[prefix .. ARGV[i]] = ARGV[i + 1] end
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
    local field = fields[i]
    if wanted[field] then
        wanted[field] = nil
    elseif string.sub(field, 1, #prefix) == prefix then
        redis.call('HDEL', KEYS[1], field)
        redis.call('PUBLISH', ARGV[2], 'l' .. fields[i + 1])
    end
end
for field, value in pairs(wanted) do
    redis.call('HSET', KEYS[1], field, value)
    redis.call('PUBLISH', ARGV[2], 'j' .. value)
end
redis.call(#ARGV > 3 and 'SADD' or 'SREM', KEYS[2], ARGV[3])
"""
)

# KEYS: members, leases. Members of dead processes are left out.
MEMBERS: Final = _script(
    """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local fields, alive, reply = redis.call('HGETALL', KEYS[1]), {}, {}
for i = 1, #fields, 2 do
    local process = string.match(fields[i], '^[^:]*')
    if alive[process] == nil then
        alive[process] = tonumber(redis.call('ZSCORE', KEYS[2], process) or 0) > now
    end
    if alive[process] then reply[#reply + 1] = fields[i + 1] end
end
return reply
"""
)

# KEYS: leases. ARGV: process, milliseconds, the process's channel, a token to publish there.
# Returns whether the lease was alive, and the processes whose leases have ended.
PROBE: Final = _script(
    """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local alive = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0) > now
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('PUBLISH', ARGV[3], ARGV[4])
return {alive and 1 or 0, redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, 16)}
"""
)

# KEYS: members, the topics of the process, leases. ARGV: process, channel, topic.
SWEEP: Final = _script(
    """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
if tonumber(redis.call('ZSCORE', KEYS[3], ARGV[1]) or 0) > now then return end
local prefix, fields = ARGV[1] .. ':', redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
    if string.sub(fields[i], 1, #prefix) == prefix then
        redis.call('HDEL', KEYS[1], fields[i])
        redis.call('PUBLISH', ARGV[2], 'l' .. fields[i + 1])
    end
end
redis.call('SREM', KEYS[2], ARGV[3])
if redis.call('EXISTS', KEYS[2]) == 0 then redis.call('ZREM', KEYS[3], ARGV[1]) end
"""
)

ALL: Final = (PUBLISH, TOP, READ, JOIN, LEAVE, RECONCILE, MEMBERS, PROBE, SWEEP)
