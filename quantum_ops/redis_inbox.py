"""The only place that speaks the consumer-group protocol with a Redis or Valkey server.

Commands go packed over one dedicated connection and replies are taken as hiredis parsed them:
redis-py's per-entry dictionaries are a quarter of a bare loop's time (docs/performance.md).
"""

from __future__ import annotations

from typing import Any

import hiredis
import redis
import walrus

from quantum_ops import codec, entry_id, events, streams
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
from quantum_ops.scripts import CHECKPOINT, CLAIM, CREATE_GROUP, FINISH, Script

CLAIM_PAGE = 100
MAX_SETTLE = 1000
"""Entries settled in one Lua call; more would keep other clients waiting for milliseconds."""


class RedisInbox:
    """:class:`~quantum_ops.inbox.Inbox` on a server; see there for the promises."""

    def __init__(
        self, db: walrus.Database, stream_keys: tuple[str, ...], group: str, consumer: str
    ) -> None:
        self._pool = db.connection_pool
        self._keys = stream_keys
        self._group = group
        self._me = consumer
        self._connection: Any = None

    def ensure_groups(self) -> list[GroupMadeAnew]:
        """See :class:`~quantum_ops.inbox.Inbox`."""
        made = []
        for key in self._keys:
            keys = [key, streams.checkpoint(key, self._group)]
            start, checkpoint = self._script(CREATE_GROUP, keys, [self._group])
            if start:
                made.append(GroupMadeAnew(key, start.decode(), checkpoint.decode()))
        return made

    def exchange(
        self, settlements: dict[str, Settlement], count: int, block_ms: int
    ) -> tuple[Receipt, list[Batch]]:
        """See :class:`~quantum_ops.inbox.Inbox`."""
        commands: list[tuple[Any, ...]] = []
        plans: list[tuple[str, int, tuple[Any, ...]]] = []
        for key, settlement in settlements.items():
            plans += self._plan(key, settlement)
        commands = [command for _, _, command in plans]
        if count:
            commands.append(self._read_command(count, block_ms))
        if not commands:
            return Receipt(), []
        replies = self._send(commands)
        receipt = Receipt()
        for (kind, size, command), reply in zip(plans, replies, strict=False):
            self._account(receipt, kind, size, self._again_if_unknown(command, reply))
        if not count:
            return receipt, []
        return receipt, self._batches(replies[-1])

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
        if self._connection is not None:
            self._connection.disconnect()
            self._pool.release(self._connection)
            self._connection = None

    def _plan(self, key: str, settlement: Settlement) -> list[tuple[str, int, tuple[Any, ...]]]:
        """Commands that make ``settlement`` true: (kind, entries, command)."""
        plans: list[tuple[str, int, tuple[Any, ...]]] = []
        if settlement.acks:
            acks = settlement.acks
            plans.append(("ack", len(acks), ("XACK", key, self._group, *acks)))
        rows: list[Applied | Letter] = [*settlement.applied, *settlement.letters]
        for start in range(0, len(rows), MAX_SETTLE):
            part = rows[start : start + MAX_SETTLE]
            keys = [key, streams.DEAD_LETTER.key, streams.checkpoint(key, self._group)]
            shapes: dict[Any, int] = {}
            entries: list[Any] = []
            for row in part:
                _add_row(row, keys, shapes, entries)
            args: list[Any] = [self._group, self._me, _moment(), len(shapes)]
            for deliveries, commands in shapes:
                if commands is None:
                    args += (deliveries, -1)
                else:
                    args += (deliveries, len(commands))
                    for pair in commands:
                        args += pair
            args.append(len(part))
            args += entries
            plans.append(("finish", len(part), _evalsha(FINISH, keys, args)))
        return plans

    def _read_command(self, count: int, block_ms: int) -> tuple[Any, ...]:
        block = ("BLOCK", block_ms) if block_ms else ()
        return (
            "XREADGROUP", "GROUP", self._group, self._me, "COUNT", count, *block,
            "STREAMS", *self._keys, *(">" for _ in self._keys),
        )  # fmt: skip

    @staticmethod
    def _account(receipt: Receipt, kind: str, size: int, reply: Any) -> None:
        if isinstance(reply, Exception):
            raise reply
        if kind == "ack":
            receipt.acked += reply
            receipt.fenced += size - reply
            return
        acked, fenced, buried, skipped, failed = reply
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
        if self._connection is None:
            self._connection = self._pool.get_connection()
        connection = self._connection
        replies: list[Any] = []
        try:
            # hiredis packs by itself; redis-py's wrapper looks at each argument's type first,
            # which costs more than the packing.
            packed = b"".join([hiredis.pack_command(command) for command in commands])
            connection.send_packed_command([packed], check_health=False)
            for _ in commands:
                try:
                    replies.append(connection.read_response())
                except redis.ResponseError as error:
                    replies.append(error)
        except BaseException:
            # Replies not read yet would be taken for the next command's: never keep the line.
            self.disconnect()
            raise
        return replies


def _evalsha(script: Script, keys: list[str], args: list[Any]) -> tuple[Any, ...]:
    return ("EVALSHA", script.sha, len(keys), *keys, *args)


def _add_row(
    row: Applied | Letter, keys: list[str], shapes: dict[Any, int], entries: list[Any]
) -> None:
    """Append one entry in the form that FINISH reads."""
    if len(row) == 4:  # noqa: PLR2004 - a Letter; isinstance costs more than the rest of this
        shape: Any = (row[1], None)
        entries += (row[0], shapes.setdefault(shape, len(shapes) + 1), row[2], row[3])
        return
    id_, deliveries, commands = row
    if len(commands) == 1:
        command = commands[0]
        shape = (deliveries, ((command[0], len(command) - 2),))
        keys.append(command[1])
        entries += (id_, shapes.setdefault(shape, len(shapes) + 1), *command[2:])
        return
    shape = (deliveries, tuple((command[0], len(command) - 2) for command in commands))
    entries += (id_, shapes.setdefault(shape, len(shapes) + 1))
    for command in commands:
        keys.append(command[1])
        entries += command[2:]


def _moment() -> str:
    return codec.rfc3339(events.now())
