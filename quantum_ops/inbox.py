"""The only place that says what the runner asks of a server: read, settle, recover.

Two keep these promises: :mod:`quantum_ops.redis_inbox` on a real server (or fakeredis) and the
in-memory one in :mod:`quantum_ops.testing`. One suite, tests/integration/test_promises.py, holds
both to them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from quantum_ops.effects import Command

RawEntry = Any
"""``[entry_id, [name, value, ...] or None]``, all bytes, exactly as the client parsed it. None: the
payload was deleted or trimmed away while the entry was pending."""


class Letter(NamedTuple):
    """An entry that goes to the dead letter, and why."""

    entry_id: bytes
    deliveries: int
    reason: str
    error: str


Applied = tuple[bytes, int, list[Command]]
"""An entry that is acknowledged together with its effects: (entry id, deliveries, commands). A
plain tuple: there is one for each entry, and a named one costs four times as much to make."""


@dataclass(slots=True)
class Settlement:
    """What became of the entries of one stream in one batch, to be made true in one step."""

    acks: list[bytes] = field(default_factory=list)
    applied: list[Applied] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.acks or self.applied or self.letters)


@dataclass(slots=True)
class Receipt:
    """What the server made of a :class:`Settlement`.

    ``fenced`` entries had been settled by another process: their effects were not applied.
    ``skipped`` entries met their ``once`` key. ``failed`` lists (entry id, error) of effects that
    Redis refused. ``again`` lists (stream, entry id) of entries that were left pending because the
    key of their ``first`` effect holds another value. ``withdrawn`` values were never let out: the
    replicas did not have them in time.
    """

    acked: int = 0
    fenced: int = 0
    buried: int = 0
    skipped: int = 0
    failed: list[tuple[bytes, str]] = field(default_factory=list)
    again: list[tuple[str, bytes]] = field(default_factory=list)
    withdrawn: int = 0

    def add(self, other: Receipt) -> None:
        """Count ``other`` in."""
        self.acked += other.acked
        self.fenced += other.fenced
        self.buried += other.buried
        self.skipped += other.skipped
        self.failed += other.failed
        self.again += other.again
        self.withdrawn += other.withdrawn


class Batch(NamedTuple):
    """New entries of one stream."""

    stream: str
    entries: list[RawEntry]


class Pending(NamedTuple):
    """One pending entry of this consumer; ``deliveries`` is the server's count so far."""

    entry_id: bytes
    deliveries: int


class Claimed(NamedTuple):
    """What a claim brought: ids now ours, and ids whose payload was gone (already recorded)."""

    entry_ids: list[bytes]
    lost: list[bytes]


class GroupMadeAnew(NamedTuple):
    """A group that did not exist was made; it starts at ``start``.

    ``vanished``: it had existed before, because it has a ``checkpoint``, or because this very
    process had it. Then a critical Finding stands in the stream of Findings; ``untold`` says why
    not, if the server took none.
    """

    stream: str
    start: str
    checkpoint: str
    vanished: bool = False
    untold: str = ""


class GroupGoneError(Exception):
    """The group or the stream was destroyed while we were reading."""


class Inbox(Protocol):
    """One consumer's view of its streams. Methods raise what the transport raises."""

    def ensure_groups(self) -> list[GroupMadeAnew]:
        """Make the groups that do not exist, at their checkpoint or at 0; give those made.

        The Finding that one had vanished MUST be written in the step that makes it: once for each
        time, by whoever makes it, whatever becomes of the reply. A first start is no Finding.
        """
        ...

    def exchange(
        self, settlements: dict[str, Settlement], count: int, block_ms: int
    ) -> tuple[Receipt, list[Batch]]:
        """Settle the last batch and give the next, in one round trip.

        That is the batch which was read ahead, if one was: then receipts of what was settled since
        may come with a later exchange. Otherwise the settlement MUST be applied before the read.
        ``count`` 0 only settles, and its receipt MUST be of everything settled so far.
        """
        ...

    def read_ahead(self, count: int) -> None:
        """Ask for the next batch without waiting for it; the next exchange that reads gives it.

        Its entries are pending with this consumer from now on, and age there: see :meth:`renew`.
        """
        ...

    def renew(self, stream: str, entry_ids: list[bytes]) -> set[bytes]:
        """Those of ``entry_ids`` that are still pending with this consumer.

        Their idle time begins anew, and no delivery is charged.
        """
        ...

    def submit(self, settlements: dict[str, Settlement]) -> None:
        """Send a settlement without waiting for its receipt, which comes with the next exchange.

        The server then applies it while we handle the rest of the batch.
        """
        ...

    def pending(self, stream: str, after: bytes, count: int) -> list[Pending]:
        """This consumer's own pending entries with ids above ``after``, ascending."""
        ...

    def reread(self, stream: str, entry_id: bytes) -> RawEntry | None:
        """One own pending entry again (charged one delivery); None if it is no longer ours."""
        ...

    def claim(self, stream: str, idle_ms: int) -> Claimed:
        """Take over all entries that lay idle with any consumer for ``idle_ms``."""
        ...

    def checkpoint(self) -> None:
        """Write down how far each group is acknowledged."""
        ...

    def disconnect(self) -> None:
        """Drop the connection; the next call opens a new one."""
        ...
