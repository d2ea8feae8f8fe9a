"""The only place that shows what a restore would do or did, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from ops.terminal import safe
from quantum_ops import streams
from quantum_ops.history.blocks import FIRST, Key
from quantum_ops.history.reader import Archive
from quantum_ops.recovery.plan import Plan
from quantum_ops.recovery.restore import Done

MAX_NAMED = 10
NOT_BACK = (
    "not in any stream, so not restored: permits (none is a denial), positions, cooldowns, "
    "reconcile holds; let their writers write them before you let plans in"
)


def as_object(plan: Plan, archive: Archive) -> dict[str, Any]:
    """The plan as one JSON object."""
    return {
        "archive": {
            "folder": str(archive.folder.base),
            "entries": archive.head.size,
            "root": archive.head.root.hex(),
            "newest_ms": plan.newest_ms,
        },
        "streams": {
            streams.short(key): {
                "entries": one.kept,
                "older": one.older,
                "missing": one.missing,
                "unarchived": one.unarchived,
                "conflicts": one.conflicting,
                "first": _id(one.low),
                "last": _id(one.high),
                "sha256": one.digest,
            }
            for key, one in plan.sums.items()
        },
        "groups": [
            {
                "stream": streams.short(one.stream),
                "group": one.group,
                "after": _id(one.key),
                "why": one.why,
            }
            for one in plan.positions
        ],
        "keys": {what: len(keys) for what, keys in plan.keys.items()},
        "undecided": [plan_id for _, plan_id in plan.undecided],
        "interrupted": plan.interrupted,
        "left_out": [streams.short(key) for key in plan.left_out],
        "missing": plan.missing,
        "told_twice": plan.twice,
        "ahead_of_the_clock": {streams.short(key): count for key, count in plan.ahead.items()},
        "held_up": [streams.short(key) for key in plan.held_up],
    }


def lines(plan: Plan, archive: Archive) -> Iterator[str]:
    """The plan for a terminal."""
    newest = datetime.fromtimestamp(plan.newest_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    yield f"archive  {archive.folder.base}: {archive.head.size} entries, the newest {newest}"
    yield ""
    yield f"{'stream':<18}{'entries':>9}{'missing':>9}{'server only':>13}  first .. last"
    for key, one in plan.sums.items():
        yield (
            f"{safe(streams.short(key)):<18}{one.kept:>9}{one.missing:>9}{one.unarchived:>13}  "
            f"{_id(one.low)} .. {_id(one.high)}"
        )
        if one.conflicting:
            yield f"    CONFLICT: other content under {', '.join(one.conflicts)}"
    for key in plan.left_out:
        yield f"{safe(streams.short(key)):<18}        -  the trading side's: --trading-streams"
    yield ""
    for position in plan.positions:
        where = "from the start" if position.key == FIRST else f"behind {_id(position.key)}"
        yield (
            f"group {safe(position.group):<16} {safe(streams.short(position.stream)):<17} "
            f"{where}  ({position.why})"
        )
    yield ""
    yield "keys     " + ", ".join(f"{len(keys)} {what}" for what, keys in plan.keys.items())
    for key, count in plan.ahead.items():
        yield (
            f"{safe(streams.short(key))}: {count} with an id ahead of the clock, left in the "
            "archive alone: with it the stream would take no honest entry"
        )
    for key in plan.held_up:
        yield f"{safe(streams.short(key))} takes no honest entry now; restored, it does again"
    yield from _doubts(plan)
    yield NOT_BACK


def done(found: Done) -> Iterator[str]:
    """What was done."""
    for key, one in found.sums.items():
        yield (
            f"{streams.short(key):<18} {one.kept} entries ({one.missing} were missing)  "
            f"sha256 {one.digest[:16]}"
        )
    yield "keys written: " + ", ".join(f"{count} {what}" for what, count in found.keys.items())


def _doubts(plan: Plan) -> Iterator[str]:
    if plan.twice:
        yield plan.twice
    if plan.undecided:
        named = ", ".join(safe(one, 40) for _, one in plan.undecided[:MAX_NAMED])
        yield (
            f"{len(plan.undecided)} plans have no archived decision; sent again under the same id "
            f"they are denied: {named}"
        )
    if plan.interrupted:
        named = ", ".join(safe(one, 40) for one in plan.interrupted[:MAX_NAMED])
        yield (
            f"{len(plan.interrupted)} plans can no longer be judged by their permits; look at them "
            f"by hand: {named}"
        )


def _id(key: Key) -> str:
    return "{}-{}".format(*key)
