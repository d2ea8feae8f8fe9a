"""The only place of the known-bad protocols: the simulation must catch each, or it proves nothing.

Each differs from the product's inbox in the one thing that its docstring says.
"""

from __future__ import annotations

from typing import Any

from quantum_ops import streams
from quantum_ops.effects import BURY, FIRST, ONCE, Command, spelt
from quantum_ops.inbox import Batch, Claimed, Pending, Receipt, Settlement
from quantum_ops.redis_inbox import RedisInbox
from quantum_ops.scripts import FINISH

_DONE = "sim:done"


class Naive(RedisInbox):
    """Applies the effects, then acknowledges, in two steps."""

    def exchange(
        self, settlements: dict[str, Settlement], count: int, block_ms: int
    ) -> tuple[Receipt, list[Batch]]:
        """See :class:`~quantum_ops.inbox.Inbox`."""
        self._settle(settlements)
        return super().exchange({}, count, block_ms)

    def submit(self, settlements: dict[str, Settlement]) -> None:
        """See :class:`~quantum_ops.inbox.Inbox`."""
        self._settle(settlements)

    def _settle(self, settlements: dict[str, Settlement]) -> None:
        for key, settlement in settlements.items():
            if settlement.acks:
                self._one("XACK", key, self._group, *settlement.acks)
            for id_, _, commands in settlement.applied:
                self._entry(key, id_, commands)
            for letter in settlement.letters:
                self._bury(key, letter.entry_id, letter.reason)
                self._one("XACK", key, self._group, letter.entry_id)

    def _entry(self, key: str, id_: bytes, commands: list[Command]) -> None:
        self._apply(key, id_, commands)
        self._one("XACK", key, self._group, id_)

    def _apply(self, key: str, id_: bytes, commands: list[Command]) -> None:
        for command in commands:
            name, target, *args = spelt(command)
            if name in (ONCE, FIRST):
                if self._one("SET", target, args[0], "NX", "EX", args[1]) is None:
                    return
            elif name == BURY:
                self._bury(key, id_, args[0])
            elif isinstance(self._one(name, target, *args), Exception):
                self._bury(key, id_, "effect_failed")
                return

    def _bury(self, key: str, id_: bytes, reason: str) -> None:
        found = self._one("XRANGE", key, id_, id_)
        flat = found[0][1] if found else []
        kept = [b"original." + one if at % 2 == 0 else one for at, one in enumerate(flat)]
        self._one(
            "XADD", streams.DEAD_LETTER.key, "*", "stream", key, "group", self._group,
            "entry_id", id_, "reason", reason, *kept,
        )  # fmt: skip

    def _one(self, *command: Any) -> Any:
        reply = self._send([command])[0]
        return (
            reply if isinstance(reply, Exception) and command[0] == "HINCRBY" else self._ok(reply)
        )

    @staticmethod
    def _ok(reply: Any) -> Any:
        if isinstance(reply, Exception):
            raise reply
        return reply


class CheckThenAct(Naive):
    """Looks whether the entry is done, applies the effects, notes it as done, acknowledges."""

    def _entry(self, key: str, id_: bytes, commands: list[Command]) -> None:
        if not self._one("HEXISTS", _DONE, key.encode() + id_):
            self._apply(key, id_, commands)
            self._one("HSET", _DONE, key.encode() + id_, "1")
        self._one("XACK", key, self._group, id_)


class AckFirst(Naive):
    """Acknowledges, and applies the effects if it was the one who did."""

    def _entry(self, key: str, id_: bytes, commands: list[Command]) -> None:
        if self._one("XACK", key, self._group, id_):
            self._apply(key, id_, commands)


class Unfenced(RedisInbox):
    """The product's script without its fence: whatever XACK answered, the effects are applied."""

    SOURCE = FINISH.source.replace(
        "local won = call('XACK', stream, group, id) == 1",
        "call('XACK', stream, group, id) local won = true",
    )

    def _finish(self, key: str, rows: Any, add: Any) -> Any:
        kind, size, command = super()._finish(key, rows, add)
        return kind, size, ("EVAL", self.SOURCE, *command[2:])


class NeverDrains(RedisInbox):
    """Never looks at its own pending entries: those of a lost reply stay there."""

    def pending(self, stream: str, after: bytes, count: int) -> list[Pending]:
        """See :class:`~quantum_ops.inbox.Inbox`."""
        del stream, after, count
        return []


class NeverClaims(RedisInbox):
    """Never takes over what a process that does not come back has left."""

    def claim(self, stream: str, idle_ms: int) -> Claimed:
        """See :class:`~quantum_ops.inbox.Inbox`."""
        del stream, idle_ms
        return Claimed([], [])


BAD: dict[str, type[RedisInbox]] = {
    "naive": Naive,
    "check-then-act": CheckThenAct,
    "ack-first": AckFirst,
    "unfenced": Unfenced,
    "never-drains": NeverDrains,
    "never-claims": NeverClaims,
}
