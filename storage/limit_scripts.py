"""What Redis does with limits, in its own language: each script runs whole, by Redis' clock, in one round trip.

The arithmetic is that of storage/limits.py, in microseconds.
"""

from __future__ import annotations

import hashlib
from typing import Final

MICRO: Final = 1_000_000

# KEYS: a bucket and a set of leases for each scope. ARGV: call, lease; then for each scope its limit a minute, how much is
# taken, and how many calls may run (0 is no limit). All pass and all are counted, or one refuses and nothing changes.
# Answers with {which scope refused, of what there was too much, microseconds to wait, tightest scope, its full_at - now}.
TAKE: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local minute, after, tight, least, missing = 60000000, {}, 0, math.huge, 0
for i = 1, #KEYS / 2 do
  local limit, amount, most = tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1]), tonumber(ARGV[3 * i + 2])
  if most > 0 then
    redis.call('ZREMRANGEBYSCORE', KEYS[2 * i], '-inf', now)
    if redis.call('ZCARD', KEYS[2 * i]) >= most then return {i, 2, 0, 0, 0} end
  end
  if limit > 0 then
    local full = math.max(tonumber(redis.call('GET', KEYS[2 * i - 1]) or now), now)
    local new = full + amount * minute / limit
    if new - now > minute + 1 then return {i, 1, math.ceil(new - now - minute), i, math.ceil(full - now)} end
    after[i] = new
    local left = (minute - (new - now)) * limit
    if left < least then tight, least, missing = i, left, math.ceil(new - now) end
  end
end
for i = 1, #KEYS / 2 do
  if after[i] then
    redis.call('SET', KEYS[2 * i - 1], string.format('%.0f', after[i]), 'PX', math.ceil((after[i] - now) / 1000) + 1000)
  end
  if tonumber(ARGV[3 * i + 2]) > 0 then
    redis.call('ZADD', KEYS[2 * i], string.format('%.0f', now + ARGV[2]), ARGV[1])
    redis.call('PEXPIRE', KEYS[2 * i], math.ceil(ARGV[2] / 1000) + 1000)
  end
end
return {0, 0, 0, tight, missing}
"""

# KEYS: a bucket. ARGV: its limit, and how much more was used than had been taken; less than 0 gives back.
CORRECT: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local full = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local new = full + ARGV[2] * 60000000 / ARGV[1]
if new <= now then return redis.call('DEL', KEYS[1]) end
return redis.call('SET', KEYS[1], string.format('%.0f', new), 'PX', math.ceil((new - now) / 1000) + 1000)
"""

# KEYS: a set of leases. ARGV: how long a lease is; then the calls that still run.
RENEW: Final = """
local time = redis.call('TIME')
local until_then = string.format('%.0f', time[1] * 1000000 + time[2] + ARGV[1])
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], until_then, ARGV[i]) end
return redis.call('PEXPIRE', KEYS[1], math.ceil(ARGV[1] / 1000) + 1000)
"""

DIGESTS: Final = {script: hashlib.sha1(script.encode()).hexdigest() for script in (TAKE, CORRECT, RENEW)}  # noqa: S324
