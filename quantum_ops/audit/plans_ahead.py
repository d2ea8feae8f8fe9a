"""The only place that finds plans which were added, but which their group has not settled yet.

Results overtake plans: a group reads both streams by equal numbers, though most plans come to no
result, and a process that is frozen holds plans that nobody else gets to see. Before a result is
called one without a plan, all of these MUST have been looked at.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import hiredis
import walrus

from quantum_ops import client, codec, entry_id, streams
from quantum_ops.errors import DecodeError
from quantum_ops.events import ApplyPlan

PAGE = 1000
_KEY = streams.APPLY_PLAN.key


class PlansAhead:
    """Reads on from where ``group`` stands; each plan that it passes is remembered in Redis.

    So no plan is read twice by one process, and none has to be held in memory. The key of a plan is
    written again, with the same value, when its turn comes. Methods raise what the connection
    raises.
    """

    def __init__(self, group: str, keep_s: int) -> None:
        self._group = group
        self._keep_s = keep_s
        self._passed = entry_id.ZERO

    def find(self, db: walrus.Database, wanted: Collection[str]) -> set[str]:
        """Which of these plans (ids) were added, though their keys were not there before."""
        missing = set(wanted)
        for page in self._unread(db):
            missing -= self._remember(db, page)
            if not missing:
                return set(wanted)
        for page in self._in_hands(db):
            missing -= self._remember(db, page)
        # Last: one that was in somebody's hands a moment ago may have been settled meanwhile.
        keys = [("EXISTS", streams.planned(plan_id)) for plan_id in sorted(missing)]
        settled = zip(sorted(missing), _ask(db, keys), strict=True)
        return set(wanted) - {plan_id for plan_id, reply in settled if reply != 1}

    def _unread(self, db: walrus.Database) -> Iterator[list[Any]]:
        """What nobody has read, a page at a time, from where this process stopped last time."""
        groups, newest = _ask(
            db, [("XINFO", "GROUPS", _KEY), ("XREVRANGE", _KEY, "+", "-", "COUNT", 1)]
        )
        delivered = _position(groups, self._group)
        # Beyond the end it means nothing: the stream was made anew.
        beyond = not newest or entry_id.parse(newest[0][0]) < entry_id.parse(self._passed)
        if beyond or entry_id.parse(self._passed) < entry_id.parse(delivered):
            self._passed = delivered
        while True:
            after = b"(" + self._passed
            [page] = _ask(db, [("XRANGE", _KEY, after, "+", "COUNT", PAGE)])
            if isinstance(page, list) and page:
                yield page
                self._passed = page[-1][0]
            if not isinstance(page, list) or len(page) < PAGE:
                return

    def _in_hands(self, db: walrus.Database) -> Iterator[list[Any]]:
        """What some process has read and not settled, a page at a time."""
        after = b"-"
        while True:
            [rows] = _ask(db, [("XPENDING", _KEY, self._group, after, "+", PAGE)])
            if not isinstance(rows, list) or not rows:
                return
            entries = _ask(db, [("XRANGE", _KEY, row[0], row[0]) for row in rows])
            yield [entry for found in entries if isinstance(found, list) for entry in found]
            if len(rows) < PAGE:
                return
            after = b"(" + rows[-1][0]

    def _remember(self, db: walrus.Database, page: Sequence[Any]) -> set[str]:
        decode = codec.decoder(ApplyPlan)
        found: dict[str, bytes] = {}
        for id_, flat in page:
            try:
                found[decode(flat).plan_id] = id_
            except DecodeError:
                continue  # no plan: its own delivery buries it
        _ask(
            db,
            [
                ("SET", streams.planned(plan_id), id_, "EX", self._keep_s)
                for plan_id, id_ in found.items()
            ],
        )
        return set(found)


def _position(groups: Any, group: str) -> bytes:
    """The id that was delivered last; an error reply (no such stream) is the beginning."""
    for row in groups if isinstance(groups, list) else ():
        fields = dict(zip(row[::2], row[1::2], strict=True))
        if fields.get(b"name") == group.encode():
            return bytes(fields[b"last-delivered-id"])
    return entry_id.ZERO


def _ask(db: walrus.Database, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    if not commands:
        return []
    return client.ask(db, b"".join(map(hiredis.pack_command, commands)), len(commands))
