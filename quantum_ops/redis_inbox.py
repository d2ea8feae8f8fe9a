"""The only place that speaks the consumer-group protocol with a Redis or Valkey server.

All of it goes over one :class:`~quantum_ops.line.Line`. Replies come in the order of the commands,
and many are not waited for: ``_unheard`` holds what was sent and not heard of yet.
"""

from __future__ import annotations

from typing import Any

import redis
import walrus

from quantum_ops import client, codec, entry_id, events, streams, vanished
from quantum_ops.inbox import (
    Applied,
    Batch,
    Claimed,
    GroupGoneError,
    GroupMadeAnew,
    Letter,
    Pending,
    RawEntry,
    Receipt,
    Settlement,
)
from quantum_ops.lease import RENEW
from quantum_ops.line import Line
from quantum_ops.scripts import CHECKPOINT, CLAIM, CREATE_GROUP, FINISH, Script
from quantum_ops.unreplicated import LET_OUT, WITHDRAW, Held, hold_back, letting_out, withdrawing

CLAIM_PAGE = 100
MAX_SETTLE = 1000
"""Entries settled in one Lua call; more would keep other clients waiting for milliseconds."""


_Plan = tuple[str, int, tuple[Any, ...]]
"""(kind, entries, command) of one settlement that was sent."""

_READ: _Plan = ("read", 0, ())
"""Stands for a read among them; there is never more than one."""


class RedisInbox:
    """:class:`~quantum_ops.inbox.Inbox` on a server; see there for the promises."""

    def __init__(
        self, db: walrus.Database, stream_keys: tuple[str, ...], group: str, consumer: str
    ) -> None:
        self._line = Line(db.connection_pool)
        self._replicas = client.replicas(db)
        self._keys = stream_keys
        self._group = group
        self._me = consumer
        self._had: set[str] = set()
        self._unheard: list[_Plan] = []
        self._came: list[Any] = []
        self._carried = Receipt()

    def ensure_groups(self) -> list[GroupMadeAnew]:
        """See :class:`~quantum_ops.inbox.Inbox`."""
        made = []
        for key in self._keys:
            keys = [key, streams.checkpoint(key, self._group), streams.AUDIT_FINDING.key]
            # A server that was emptied while we were away has no checkpoint, either: we know.
            had = "1" if key in self._had else ""
            told = (vanished.AT_CHECKPOINT, vanished.NO_CHECKPOINT)
            args = [self._group, had, *told, *vanished.fields(self._group, key)]
            reply = self._script(CREATE_GROUP, keys, args)
            self._had.add(key)
            start, checkpoint, gone, untold = (part.decode() for part in reply)
            if start:
                made.append(GroupMadeAnew(key, start, checkpoint, bool(gone), untold))
        return made

    def exchange(
        self, settlements: dict[str, Settlement], count: int, block_ms: int
    ) -> tuple[Receipt, list[Batch]]:
        """See :class:`~quantum_ops.inbox.Inbox`."""
        if self._replicas.count:
            settlements = self._replicated(settlements)
        plans = self._plans(settlements)
        commands = [command for _, _, command in plans]
        self._unheard += plans
        if count and not self._asked():
            commands.append(self._read_command(count, block_ms))
            self._unheard.append(_READ)
        self._line.write(commands)
        if not count:
            return self._receipt(self._hear_settled()), []
        settled = []
        while not self._came:
            settled += self._hear()
        return self._receipt(settled), self._batches(self._came.pop())

    def submit(self, settlements: dict[str, Settlement]) -> None:
        """See :class:`~quantum_ops.inbox.Inbox`."""
        if self._replicas.count:
            settlements = self._replicated(settlements)
        plans = self._plans(settlements)
        self._unheard += plans
        self._line.write([command for _, _, command in plans])

    def read_ahead(self, count: int) -> None:
        """See :class:`~quantum_ops.inbox.Inbox`."""
        # Without BLOCK: behind one, settlements would wait for news.
        self._unheard.append(_READ)
        self._line.write([self._read_command(count, 0)])

    def renew(self, stream: str, entry_ids: list[bytes]) -> set[bytes]:
        """See :class:`~quantum_ops.inbox.Inbox`."""
        held: set[bytes] = set()
        for start in range(0, len(entry_ids), MAX_SETTLE):
            part = entry_ids[start : start + MAX_SETTLE]
            held.update(self._script(RENEW, [stream], [self._group, self._me, *part]))
        return held

    def pending(self, stream: str, after: bytes, count: int) -> list[Pending]:
        """See :class:`~quantum_ops.inbox.Inbox`."""
        rows = self._one("XPENDING", stream, self._group, b"(" + after, "+", count, self._me)
        return [Pending(row[0], row[3]) for row in rows]

    def reread(self, stream: str, entry_id_: bytes) -> RawEntry | None:
        """See :class:`~quantum_ops.inbox.Inbox`."""
        reply = self._one(
            "XREADGROUP", "GROUP", self._group, self._me, "COUNT", 1,
            "STREAMS", stream, entry_id.before(entry_id_),
        )  # fmt: skip
        for _, entries in reply or ():
            for entry in entries:
                if entry[0] == entry_id_:
                    return entry
        return None

    def claim(self, stream: str, idle_ms: int) -> Claimed:
        """See :class:`~quantum_ops.inbox.Inbox`."""
        cursor, ids, lost = entry_id.ZERO, [], []
        keys = [stream, streams.DEAD_LETTER.key]
        while True:
            # A page may be empty while the cursor is not at its end: only 0-0 means done.
            page = self._script(
                CLAIM, keys, [self._group, self._me, _moment(), idle_ms, cursor, CLAIM_PAGE]
            )
            cursor = page[0]
            ids += page[1]
            lost += page[2]
            if cursor == entry_id.ZERO:
                return Claimed(ids, lost)

    def checkpoint(self) -> None:
        """See :class:`~quantum_ops.inbox.Inbox`."""
        for key in self._keys:
            self._script(CHECKPOINT, [key, streams.checkpoint(key, self._group)], [self._group])

    def disconnect(self) -> None:
        """See :class:`~quantum_ops.inbox.Inbox`."""
        self._line.close()
        self._unheard, self._came = [], []
        self._carried = Receipt()

    def _replicated(self, settlements: dict[str, Settlement]) -> dict[str, Settlement]:
        """Settle what holds values back, and let these out once the replicas have it.

        Gives what is left to settle. The wait is for all of it at once; nothing is read meanwhile.
        """
        held: list[Held] = []
        for settlement in settlements.values():
            for at, (id_, deliveries, commands) in enumerate(settlement.applied):
                made, found = hold_back(commands)
                if found:
                    settlement.applied[at] = (id_, deliveries, made)
                    held += found
        if not held:
            return settlements
        plans = self._plans(settlements)
        self._unheard += plans
        self._line.write([command for _, _, command in plans])
        receipt = self._carried = self._receipt(self._hear_settled())
        if self._one(*self._replicas.command) >= self._replicas.count:
            self._script(LET_OUT, *letting_out(held))
        else:
            receipt.withdrawn += self._script(WITHDRAW, *withdrawing(held))
        return {}

    def _plans(self, settlements: dict[str, Settlement]) -> list[_Plan]:
        """Commands that make ``settlements`` true."""
        plans: list[_Plan] = []
        for key, settlement in settlements.items():
            acks = settlement.acks
            if acks:
                plans.append(("ack", len(acks), ("XACK", key, self._group, *acks)))
            applied = settlement.applied
            for start in range(0, len(applied), MAX_SETTLE):
                part = applied[start : start + MAX_SETTLE]
                plans.append(self._finish(key, part, _add_applied))
            letters = settlement.letters
            for start in range(0, len(letters), MAX_SETTLE):
                part_ = letters[start : start + MAX_SETTLE]
                plans.append(self._finish(key, part_, _add_letters))
        return plans

    def _finish(self, key: str, rows: Any, add: Any) -> _Plan:
        keys = [key, streams.DEAD_LETTER.key, streams.checkpoint(key, self._group)]
        shapes: dict[Any, int] = {}
        entries: list[Any] = []
        add(rows, keys, shapes, entries)
        args: list[Any] = [self._group, self._me, _moment(), len(shapes)]
        for deliveries, *skeletons in shapes:
            if skeletons == [None]:
                args += (deliveries, -1)
                continue
            args += (deliveries, len(skeletons))
            for name, size, constants in skeletons:
                args += (name, size, len(constants), *constants)
        args.append(len(rows))
        return "finish", len(rows), _evalsha(FINISH, keys, args + entries)

    def _read_command(self, count: int, block_ms: int) -> tuple[Any, ...]:
        block = ("BLOCK", block_ms) if block_ms else ()
        return (
            "XREADGROUP", "GROUP", self._group, self._me, "COUNT", count, *block,
            "STREAMS", *self._keys, *(">" for _ in self._keys),
        )  # fmt: skip

    @staticmethod
    def _account(receipt: Receipt, kind: str, size: int, stream: str, reply: Any) -> None:
        if isinstance(reply, Exception):
            raise reply
        if kind == "ack":
            receipt.acked += reply
            receipt.fenced += size - reply
            return
        acked, fenced, buried, skipped, failed, again = reply
        receipt.again += [(stream, id_) for id_ in again]
        receipt.acked += acked
        receipt.fenced += fenced
        receipt.buried += buried
        receipt.skipped += skipped
        pairs = zip(failed[::2], failed[1::2], strict=True)
        receipt.failed += [(id_, error.decode("utf-8", "replace")) for id_, error in pairs]

    def _again_if_unknown(self, command: tuple[Any, ...], reply: Any) -> Any:
        if isinstance(reply, redis.exceptions.NoScriptError):
            # A restarted server or SCRIPT FLUSH: nothing ran, so sending the source is safe.
            return self._send([("EVAL", FINISH.source, *command[2:])])[0]
        return reply

    @staticmethod
    def _batches(reply: Any) -> list[Batch]:
        if isinstance(reply, Exception):
            text = str(reply)
            if "NOGROUP" in text or "UNBLOCKED" in text or "no longer exists" in text:
                raise GroupGoneError(text) from reply
            raise reply
        return [Batch(key.decode(), entries) for key, entries in reply or ()]

    def _script(self, script: Script, keys: list[str], args: list[Any]) -> Any:
        reply = self._send([_evalsha(script, keys, args)])[0]
        if isinstance(reply, redis.exceptions.NoScriptError):
            reply = self._send([("EVAL", script.source, len(keys), *keys, *args)])[0]
        if isinstance(reply, Exception):
            if "NOGROUP" in str(reply):
                raise GroupGoneError(str(reply)) from reply
            raise reply
        return reply

    def _one(self, *command: Any) -> Any:
        reply = self._send([command])[0]
        if isinstance(reply, Exception):
            if "NOGROUP" in str(reply):
                raise GroupGoneError(str(reply)) from reply
            raise reply
        return reply

    def _send(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        """Replies in order; error replies are values, a broken connection raises."""
        self._line.write(commands)
        settled = []
        while self._unheard:
            settled += self._hear()
        replies = [self._line.read() for _ in commands]
        if settled:
            self._carried = self._receipt(settled)
        return replies

    def _asked(self) -> bool:
        """Whether a read was asked for whose entries were not handed over yet."""
        return bool(self._came) or _READ in self._unheard

    def _hear(self) -> list[tuple[_Plan, Any]]:
        """The next reply; empty if it was a read's, which is kept for the next exchange."""
        reply = self._line.read()
        plan = self._unheard.pop(0)
        if plan is _READ:
            self._came.append(reply)
            return []
        return [(plan, reply)]

    def _hear_settled(self) -> list[tuple[_Plan, Any]]:
        """The replies to everything that was settled; a read that was asked for last may go on."""
        settled = []
        while self._unheard not in ([], [_READ]):
            settled += self._hear()
        return settled

    def _receipt(self, settled: list[tuple[_Plan, Any]]) -> Receipt:
        """What came of them; an unknown script is sent again."""
        receipt, self._carried = self._carried, Receipt()
        for (kind, size, command), answered in settled:
            reply = self._again_if_unknown(command, answered)
            # command[3]: the first key of the script, which is the stream; unused for an XACK.
            self._account(receipt, kind, size, command[3], reply)
        # Sending again hears of what was sent after it, too.
        receipt.add(self._carried)
        self._carried = Receipt()
        return receipt


def _evalsha(script: Script, keys: list[str], args: list[Any]) -> tuple[Any, ...]:
    return ("EVALSHA", script.sha, len(keys), *keys, *args)


def _add_applied(
    rows: list[Applied], keys: list[str], shapes: dict[Any, int], entries: list[Any]
) -> None:
    """Append entries with their effects in the form that FINISH reads."""
    for id_, deliveries, commands in rows:
        shape: Any
        if len(commands) == 1:
            # By far the most frequent case, and the hottest lines of all.
            skeleton, key, values = commands[0]
            shape = (deliveries, skeleton)
            keys.append(key)
            entries += (id_, shapes.get(shape) or _shape(shapes, shape))
            entries += values
            continue
        shape = (deliveries, *[one[0] for one in commands])
        entries += (id_, shapes.get(shape) or _shape(shapes, shape))
        for _, key, values in commands:
            keys.append(key)
            entries += values


def _shape(shapes: dict[Any, int], shape: Any) -> int:
    number = shapes[shape] = len(shapes) + 1
    return number


def _add_letters(
    rows: list[Letter], _keys: list[str], shapes: dict[Any, int], entries: list[Any]
) -> None:
    """Append letters in the form that FINISH reads."""
    for id_, deliveries, reason, error in rows:
        number = shapes.setdefault((deliveries, None), len(shapes) + 1)
        entries += (id_, number, reason, error)


def _moment() -> str:
    return codec.rfc3339(events.now())
