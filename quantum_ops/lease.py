"""The only place that knows how long entries lie in hand, and takes care that they stay ours.

An entry that lies untouched for ``claim_after_s`` may be claimed by another process. It happens to
what was read ahead, to the rest of a slow batch, and to everything when the process was stopped.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from quantum_ops.inbox import Inbox, RawEntry
from quantum_ops.scripts import Script

RENEW_PART = 2
"""Entries are renewed after this part of ``claim_after_s``: late enough to cost nothing, early
enough for what is handled next to be through before the rest of it is over."""

RENEW = Script(
    """
-- KEYS: stream. ARGV: group, consumer, ids. Gives those that are pending with this consumer.
-- XCLAIM by itself would take entries back that another process has claimed, and drops those whose
-- payload is gone without a word: they are left to whoever records them as lost.
local held, fresh = {}, {}
for j = 3, #ARGV do
  if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[j], ARGV[j], 1, ARGV[2]) > 0 then
    held[#held + 1] = ARGV[j]
    if #redis.call('XRANGE', KEYS[1], ARGV[j], ARGV[j]) > 0 then fresh[#fresh + 1] = ARGV[j] end
  end
end
for _, id in ipairs(fresh) do redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], '0', id, 'JUSTID') end
return held
"""
)


class Lease:
    """The entries that were read last, by their stream."""

    def __init__(self, inbox: Inbox, claim_after_s: float) -> None:
        self._inbox = inbox
        self._lasts_s = claim_after_s / RENEW_PART
        self._due_s: dict[str, float] = {}

    def begin(self, streams: Iterable[str], asked_s: float) -> None:
        """Entries of ``streams`` were read, in answer to what was asked at ``asked_s``.

        Counted from the asking: the process may have been stopped while the answer was on its way.
        """
        self._due_s = dict.fromkeys(streams, asked_s + self._lasts_s)

    def keep(
        self, stream: str, entries: list[RawEntry], events: list[Any] | None, now_s: float
    ) -> tuple[list[RawEntry], list[Any] | None]:
        """Those of ``entries``, with their events, that nobody else has; renewed if it is time.

        MUST be asked before entries are handled: a handler's effects outside of Redis are behind
        no fence. Raises what the inbox raises.
        """
        if not entries or now_s < self._due_s[stream]:
            return entries, events
        held = self._inbox.renew(stream, [entry[0] for entry in entries])
        self._due_s[stream] = now_s + self._lasts_s
        if events is not None:
            pairs = zip(entries, events, strict=True)
            events = [event for entry, event in pairs if entry[0] in held]
        return [entry for entry in entries if entry[0] in held], events
