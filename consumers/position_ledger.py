"""Notes the last executed order of each symbol beside the executors' ledger of it.

The amounts in that hash are the executors' own and are never touched, nor is ``updated_at``, which
says how old the amounts are; no expiry is set either, because a ledger that expires would switch
P3.3's mismatch checks off. A hash may hold these fields alone: it is a ledger only with amounts.
"""

from __future__ import annotations

from quantum_ops import position_note, streams
from quantum_ops.consumer import consumer
from quantum_ops.context import Context
from quantum_ops.events import ApplyResult
from quantum_ops.publisher import run_script
from quantum_ops.scripts import Script
from quantum_ops.settings import PositionLedgerSettings

NOTE = Script(
    """
-- KEYS: ledger. ARGV: entry id, name, value, ... Gives 1 if written, 0 if a newer result stands.
-- Ids are compared by length, then as text: Lua's numbers would round a long one.
local function later(a, b)
  if #a ~= #b then return #a > #b end
  return a > b
end
local known = redis.call('HGET', KEYS[1], 'last_result_id') or ''
local ms, seq = string.match(ARGV[1], '^(%d+)-(%d+)$')
local ms1, seq1 = string.match(known, '^(%d+)-(%d+)$')
if ms1 and (later(ms1, ms) or (ms1 == ms and later(seq1, seq))) then return 0 end
redis.call('HSET', KEYS[1], 'last_result_id', unpack(ARGV))
return 1
"""
)


# An older result never replaces a newer one.
@consumer(streams.APPLY_RESULT, settings=PositionLedgerSettings, replay_safe=True)
def position_ledger(event: ApplyResult, context: Context) -> None:
    """Notes order, plan and time of each executed apply.result beside the symbol's ledger."""
    if not event.executed:
        return
    if not context.settings.symbol_regex.fullmatch(event.symbol):
        context.log.warning("result_of_odd_symbol", symbol=event.symbol[:40], id=context.entry_id)
        return
    fields = position_note.of(event, context.entry_id)
    if not fields:
        context.log.warning("result_without_order_id", symbol=event.symbol, id=context.entry_id)
        return
    # Not an effect of the acknowledgement: two processes may settle in the wrong order, a claimed
    # entry comes late. Compared and written in one step, a repeat or an older result does nothing,
    # so it may happen before the acknowledgement, any number of times.
    flat = [part for pair in fields.items() for part in pair]
    key = streams.position_ledger(event.symbol)
    if not run_script(context.db, NOTE, [key], [context.entry_id, *flat]):
        context.log.debug("older_result_ignored", symbol=event.symbol, id=context.entry_id)
