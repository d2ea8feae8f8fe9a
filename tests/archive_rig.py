"""The only place where tests fill archives: a folder, a writer on it, entries of known content."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from quantum_ops import streams
from quantum_ops.history import writer
from quantum_ops.history.folder import Folder
from quantum_ops.history.reader import Archive
from quantum_ops.history.writer import Writer
from quantum_ops.ledger.seal import Seal

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
