"""The only place that speaks the consumer-group protocol with a Redis or Valkey server.

Commands go packed over one dedicated connection and replies are taken as hiredis parsed them:
redis-py's per-entry dictionaries are a quarter of a bare loop's time (docs/performance.md).
"""

from __future__ import annotations

from typing import Any

import hiredis
import redis
import walrus

from quantum_ops import client, codec, entry_id, events, streams
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
from quantum_ops.unreplicated import LET_OUT, WITHDRAW, Held, hold_back, letting_out, withdrawing

CLAIM_PAGE = 100
MAX_SETTLE = 1000
"""Entries settled in one Lua call; more would keep other clients waiting for milliseconds."""


_Plan = tuple[str, int, tuple[Any, ...]]
"""(kind, entries, command) of one settlement that was sent."""


class RedisInbox:
    """:class:`~quantum_ops.inbox.Inbox` on a server; see there for the promises."""

    def __init__(
        self, db: walrus.Database, stream_keys: tuple[str, ...], group: str, consumer: str
    ) -> None:
        self._pool = db.connection_pool
        self._replicas = client.replicas(db)
        self._keys = stream_keys
        self._group = group
        self._me = consumer
        self._connection: Any = None
        self._outstanding: list[_Plan] = []
        self._carried = Receipt()

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
        if self._replicas.count:
            settlements = self._replicated(settlements)
        plans = self._plans(settlements)
        commands = [command for _, _, command in plans]
        if count:
            commands.append(self._read_command(count, block_ms))
        self._write(commands)
        self._outstanding += plans
        settled = self._collect()
        entries = self._read() if count else None
        receipt = self._receipt(settled)
        return receipt, self._batches(entries)

    def submit(self, settlements: dict[str, Settlement]) -> None:
        """See :class:`~quantum_ops.inbox.Inbox`."""
        if self._replicas.count:
            settlements = self._replicated(settlements)
        plans = self._plans(settlements)
        self._write([command for _, _, command in plans])
        self._outstanding += plans

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
        self._outstanding = []
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
        self._write([command for _, _, command in plans])
        self._outstanding += plans
        receipt = self._receipt(self._collect())
        self._carried = receipt
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
        self._write(commands)
        settled = self._collect()
        replies = [self._read() for _ in commands]
        if settled:
            self._carried = self._receipt(settled)
        return replies

    def _collect(self) -> list[tuple[_Plan, Any]]:
        """The replies to every settlement that was sent and not heard of yet."""
        plans, self._outstanding = self._outstanding, []
        return [(plan, self._read()) for plan in plans]

    def _receipt(self, settled: list[tuple[_Plan, Any]]) -> Receipt:
        """What came of them. The line MUST be quiet: an unknown script is sent again on it."""
        receipt, self._carried = self._carried, Receipt()
        for (kind, size, command), answered in settled:
            reply = self._again_if_unknown(command, answered)
            # command[3]: the first key of the script, which is the stream; unused for an XACK.
            self._account(receipt, kind, size, command[3], reply)
        return receipt

    def _write(self, commands: list[tuple[Any, ...]]) -> None:
        if not commands:
            return
        if self._connection is None:
            self._connection = self._pool.get_connection()
        # hiredis packs by itself; redis-py's wrapper looks at each argument's type first, which
        # costs more than the packing.
        packed = b"".join([hiredis.pack_command(command) for command in commands])
        try:
            self._connection.send_packed_command([packed], check_health=False)
        except BaseException:
            self.disconnect()
            raise

    def _read(self) -> Any:
        try:
            return self._connection.read_response()
        except redis.ResponseError as error:
            return error
        except BaseException:
            # Replies not read yet would be taken for the next command's: never keep the line.
            self.disconnect()
            raise


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
