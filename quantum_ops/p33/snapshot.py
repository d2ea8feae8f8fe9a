"""The only place that reads what P3.3 knows of a symbol: position, ledger, cooldown, hold.

What cannot be read is told as such and never guessed: an unreadable value denies.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import hiredis
import msgspec

from quantum_ops import streams
from quantum_ops.p33.amounts import amount

COMMANDS = 4
"""Replies that one symbol takes."""
MAX_CACHED = 20_000


class Snapshot(msgspec.Struct, frozen=True, gc=False):
    """What is known of one symbol; amounts are signed contracts.

    ``position`` None: missing or unreadable (``position_problem`` says which). ``seen_s`` is the
    epoch second at which the exchange was asked, None if unreadable. ``ledger`` None with an empty
    ``ledger_problem``: there is no ledger. ``executed_s`` None: no execution is remembered.
    """

    position: Decimal | None = None
    position_problem: str = "missing"
    seen_s: float | None = None
    ledger: Decimal | None = None
    ledger_problem: str = ""
    executed_s: float | None = None
    executed_problem: str = ""
    hold: bool = False


class Commands:
    """The commands of each symbol, packed once: packing them anew is a third of reading them."""

    def __init__(self) -> None:
        self._packed: dict[str, bytes] = {}

    def packed(self, symbol: str) -> bytes:
        """``COMMANDS`` commands; :func:`read` takes their replies."""
        found = self._packed.get(symbol)
        if found is None:
            if len(self._packed) >= MAX_CACHED:
                self._packed.clear()
            found = self._packed[symbol] = b"".join(
                hiredis.pack_command(command)
                for command in (
                    ("HMGET", streams.position(symbol), "position_amt", "ts_epoch"),
                    ("HMGET", streams.position_ledger(symbol), "last_known_amt", "ledger_amt"),
                    ("GET", streams.cooldown(symbol)),
                    # Not GET: whatever stands under the key is a hold.
                    ("EXISTS", streams.reconcile_hold(symbol)),
                )
            )
        return found


def read(replies: list[Any]) -> Snapshot:
    """The snapshot in the raw replies to one symbol's commands; errors among them are values."""
    position, ledger, executed, hold = replies
    held, held_problem, seen_s = _position(position)
    booked, booked_problem = _ledger(ledger)
    executed_s, executed_problem = _executed(executed)
    return Snapshot(
        held,
        held_problem,
        seen_s,
        booked,
        booked_problem,
        executed_s,
        executed_problem,
        # An error reply counts as a hold.
        hold != 0,
    )


def _position(reply: Any) -> tuple[Decimal | None, str, float | None]:
    if isinstance(reply, Exception):
        return None, f"unreadable: {reply}", None
    if reply[0] is None:
        return None, "missing", None
    try:
        held = amount(reply[0])
    except ValueError as error:
        return None, f"position_amt {error}", None
    try:
        return held, "", float(amount(reply[1] or b""))
    except ValueError as error:
        return held, f"ts_epoch {error}", None


def _ledger(reply: Any) -> tuple[Decimal | None, str]:
    if isinstance(reply, Exception):
        return None, f"unreadable: {reply}"
    field, found = (
        ("last_known_amt", reply[0]) if reply[0] is not None else ("ledger_amt", reply[1])
    )
    if found is None:
        return None, ""
    try:
        return amount(found), ""
    except ValueError as error:
        return None, f"{field} {error}"


def _executed(reply: Any) -> tuple[float | None, str]:
    if reply is None:
        return None, ""
    if isinstance(reply, Exception):
        return None, f"unreadable: {reply}"
    try:
        return float(amount(reply)) / 1000, ""
    except ValueError as error:
        return None, str(error)
