"""The only place of the lease by which one of several equal processes does the work."""

from __future__ import annotations

import uuid

import walrus

from quantum_ops.publisher import run_script
from quantum_ops.scripts import Script

ACQUIRE = Script(
    """
-- KEYS: lease, fence. ARGV: owner, milliseconds. Gives the fence, or 0 if another one holds it.
local held = redis.call('GET', KEYS[1])
if held then
  if string.sub(held, 1, #ARGV[1] + 1) ~= ARGV[1] .. ':' then return 0 end
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return tonumber(string.sub(held, #ARGV[1] + 2))
end
local fence = redis.call('INCR', KEYS[2])
redis.call('SET', KEYS[1], ARGV[1] .. ':' .. fence, 'PX', ARGV[2])
return fence
"""
)
RELEASE = Script(
    """
-- KEYS: lease. ARGV: its value. Somebody else's lease is left alone.
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""
)


class LostLeaseError(Exception):
    """Another process took over: this one must write nothing and stand by."""


class Lease:
    """A key that one process holds for ``ms`` milliseconds at a time, with a fencing number.

    Whoever writes under it compares :attr:`value` with what stands in :attr:`key`, in the same
    atomic step: a process that slept through the end of its lease then changes nothing.
    """

    def __init__(
        self, db: walrus.Database, key: str, fence_key: str, ms: int, owner: str = ""
    ) -> None:
        self.key = key
        self.ms = ms
        self._db = db
        self._fence_key = fence_key
        # Not host:pid alone: a restart within the lease would be taken for the one that died.
        self._owner = owner or uuid.uuid4().hex
        self.fence = 0

    @property
    def value(self) -> str:
        """What stands in the key while it is ours."""
        return f"{self._owner}:{self.fence}"

    def acquire(self) -> bool:
        """Take the lease or renew it; False while another process holds it."""
        args = [self._owner, self.ms]
        fence = int(run_script(self._db, ACQUIRE, [self.key, self._fence_key], args))
        if fence:
            self.fence = fence
        return bool(fence)

    def release(self) -> None:
        """Give it back, so that a standby need not wait for it to run out."""
        run_script(self._db, RELEASE, [self.key], [self.value])
