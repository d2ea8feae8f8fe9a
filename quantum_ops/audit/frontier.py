"""The only place that says up to when a group has settled everything that stands in streams."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import hiredis
import walrus

from quantum_ops import client, entry_id

ASKED = 3


def settled_ms(db: walrus.Database, group: str, keys: Sequence[str]) -> float:
    """Epoch milliseconds, by the server's clock: all entries from before that are settled.

    Infinite if everything is that was there when it was asked. A judgement that rests on what is
    *not* in a stream MUST wait for it: auditors that come back read results before the events that
    explain them, and a process that is frozen holds some of these in its hands. Raises what the
    connection raises.
    """
    packed = [
        hiredis.pack_command(command)
        for key in keys
        for command in (
            ("XINFO", "GROUPS", key),
            ("XPENDING", key, group),
            ("XREVRANGE", key, "+", "-", "COUNT", 1),
        )
    ]
    replies = client.ask(db, b"".join(packed), len(packed))
    found = [
        _of_stream(group, *replies[number * ASKED : (number + 1) * ASKED])
        for number in range(len(keys))
    ]
    return min(found, default=math.inf)


def _of_stream(group: str, groups: Any, pending: Any, newest: Any) -> float:
    """Of one stream, by its replies; one that is not there has nothing to be settled."""
    if not isinstance(groups, list) or not isinstance(newest, list):
        return math.inf
    until = math.inf
    # Asked in this order: what is added meanwhile makes it look behind, never ahead.
    delivered = _delivered(group, groups)
    if newest and entry_id.parse(delivered) < entry_id.parse(newest[0][0]):
        until = entry_id.parse(delivered)[0]
    if isinstance(pending, list) and pending[1] is not None:
        until = min(until, entry_id.parse(pending[1])[0])
    return until


def _delivered(group: str, groups: Sequence[Any]) -> bytes:
    for row in groups:
        fields = dict(zip(row[::2], row[1::2], strict=True))
        if fields.get(b"name") == group.encode():
            return bytes(fields[b"last-delivered-id"])
    return entry_id.ZERO
