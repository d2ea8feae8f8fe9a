"""The only place where tests fill archives: a folder, a writer on it, entries of known content."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from consumers.archive import archive
from quantum_ops import streams
from quantum_ops.events import AuditFinding
from quantum_ops.history import writer
from quantum_ops.history.folder import Folder
from quantum_ops.history.keeper import Keeper
from quantum_ops.history.reader import Archive
from quantum_ops.history.writer import Writer
from quantum_ops.ledger.seal import Seal
from quantum_ops.settings import ArchiveSettings
from tests.backends import RedisBackend
from tests.p33_rig import ShiftedClock

PLAN = streams.APPLY_PLAN.key
RESULT = streams.APPLY_RESULT.key
T0 = 1_769_494_530_000
"""2026-01-27T06:15:30Z"""
SEAL = Seal("quantum-ops/archive")


def flat(number: int, **more: str) -> list[bytes]:
    """The fields of plan ``number``."""
    fields = {"plan_id": f"{number:016x}", "decision": "EXECUTE", "symbol": "BTCUSDT", **more}
    return [part.encode() for pair in fields.items() for part in pair]


def id_of(number: int) -> bytes:
    return b"%d-0" % (T0 + number)


@contextlib.contextmanager
def writing(base: Path, **options) -> Iterator[Writer]:
    """A writer on ``base``; closed without a commit at the end."""
    folder = Folder(base)
    with writer.lock(folder):
        made = Writer(folder, SEAL, **options)
        try:
            yield made
        finally:
            made.close()


def fill(base: Path, count: int, *, start: int = 0, step: int = 50, **options) -> Folder:
    """An archive of ``count`` entries, every third a result, committed ``step`` at a time."""
    with writing(base, **options) as made:
        for number in range(start, start + count):
            made.add(PLAN if number % 3 else RESULT, id_of(number), flat(number))
            if number % step == step - 1:
                made.commit()
        made.commit()
        made.checkpoint()
    return Folder(base)


def ids(folder: Folder, **wanted) -> list[str]:
    """The ids of what is read."""
    return [one.id for one in Archive(folder).read(**wanted)]


class ArchiveRig:
    """One archive consumer on a server, run by hand; ``tmp`` is its folder."""

    def __init__(self, server, tmp: Path, name: str = "one", **settings: Any) -> None:
        self.server = server
        self.db = server.connect()
        self.backend = RedisBackend(server.connect)
        self.folder = Folder(tmp)
        self.clock = ShiftedClock()
        self.runner, self.observer = self.backend.runner(
            archive, name, settings=ArchiveSettings(folder=str(tmp), **settings), clock=self.clock
        )

    @property
    def keeper(self) -> Keeper:
        found: Keeper = self.runner._context.held
        return found

    def settle(self) -> ArchiveRig:
        """Read all there is, archive it, and look."""
        self.backend.settle(self.runner)
        return self.scan()

    def scan(self) -> ArchiveRig:
        """The look that is due each second."""
        self.runner._tick_due = 0.0
        self.runner.step(wait=False)
        self.runner.flush()
        return self

    def add(self, count: int, *, stream: str = PLAN, start: int = 0, **more: str) -> list[str]:
        """Entries with ids of the server's clock."""
        with self.db.pipeline(transaction=False) as pipe:
            for number in range(start, start + count):
                pipe.execute_command("XADD", stream, "*", *flat(number, **more))
            return [id_.decode() for id_ in pipe.execute()]

    def archived(self, stream: str | None = PLAN) -> list[str]:
        return ids(self.folder, streams={stream} if stream else None)

    def told(self) -> list[str]:
        """Finding and stream of each that the archive published, in order."""
        found = self.backend.events(AuditFinding)
        return [
            f"{one.finding} {streams.short(one.subject)}"
            for one in found
            if one.auditor == "archive"
        ]

    def details(self) -> list[str]:
        return [one.detail for one in self.backend.events(AuditFinding)]

    def die(self) -> None:
        """As if killed: the lock is gone, nothing was said. What was in memory is lost."""
        self.keeper.writer.close()
        self.keeper._exit.close()
