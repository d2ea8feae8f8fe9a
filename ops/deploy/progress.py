"""The only place that judges whether a consumer keeps up after its deploy. Decides without I/O."""

from __future__ import annotations

from quantum_ops import streams
from quantum_ops.lag import Lag

CAP = 2_000
"""Entries counted at most; above it the exact number decides nothing."""


def keeps_up(at_ready: Lag, now: Lag) -> bool:
    """Whether what stood there when the release became ready is done, or becomes less.

    Not the lag alone: on a busy stream it is never 0, and one look at it proves nothing. What is
    unknown proves nothing, either.
    """
    if now.entries is None:
        return False
    if now.left == 0 or now.first > at_ready.newest:
        return True
    if at_ready.entries is None:
        return False
    return now.first > at_ready.first and now.left <= at_ready.left


def told(one: Lag) -> str:
    """A lag in words, for the proof."""
    waiting = "an unknown number" if one.entries is None else str(one.entries)
    more = " or more" if one.exactness == "atleast" else ""
    name = streams.short(one.stream)
    return f"{name}: {waiting}{more} undelivered, {one.pending} unacknowledged"
