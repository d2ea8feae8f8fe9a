"""The only place that records: what the command line tool and the consumer both call.

Under one lock: what was recorded before is recognised, ids are given out, the lines appended and
made durable, the files rendered, the checkpoint written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from quantum_ops.ledger import checkpoint, durable, merkle, moment, project
from quantum_ops.ledger import spool as spooled
from quantum_ops.ledger.aside import aside
from quantum_ops.ledger.batch import CLI, Batch, Outcome, Receipt
from quantum_ops.ledger.drift import Drift
from quantum_ops.ledger.entry import Request
from quantum_ops.ledger.errors import CheckpointError, InvalidEntryError
from quantum_ops.ledger.folder import Folder
from quantum_ops.ledger.index import Index
from quantum_ops.ledger.journal import LOCK_PATIENCE_S, Journal, Tail
from quantum_ops.ledger.seal import Seal

__all__ = [
    "CLI", "Folder", "Outcome", "Receipt", "Request", "Seal", "check", "rebuild", "record_many",
    "take_in",
]  # fmt: skip

DRIFT = "drift.detected"
PROBE_BYTES = 256 * 1024
"""What a disk must have room for: some of the largest lines, and their renderings."""


def ignore(_told: str) -> None:
    """Tells nobody."""


def record_many(
    folder: Folder,
    requests: Sequence[Request],
    clock: moment.Clock = moment.now,
    *,
    seal: Seal | None = None,
    tell: Callable[[str], None] = ignore,
    patience_s: float = LOCK_PATIENCE_S,
) -> list[Receipt]:
    """Record ``requests``; a receipt for each, in their order. What these say MUST be durable.

    ``tell`` hears of what does not keep the record from being made: a file that somebody changed, a
    rendering or a signature that failed, the cut end of an interrupted write.

    Raises:
        LockTimeoutError: if another process held the lock for ``patience_s``.
        JournalDamagedError, CheckpointError: if the journal is not what it was. No append.
        OSError: if it could not be written. Then nothing was recorded, or a repeat with the same
            source is recognised.
    """
    with Journal(folder).locked(patience_s) as tail, Index(folder) as index:
        if tail.torn:
            tell(tail.torn)
        index.sync(tail)
        _guard(folder, index, tail)
        batch = Batch(folder, tail, index, clock())
        if not tail.seq:
            batch.adopt()
        receipts = [batch.take(request) for request in requests]
        batch.write()
        receipts = [batch.finish(receipt) for receipt in receipts]
        _render(batch, tell)
        try:
            (seal or Seal()).publish(folder, index.head())
        except (CheckpointError, OSError) as error:
            tell(f"checkpoint: {error}; the record stands, the next checkpoint covers it")
    return receipts


def probe(
    folder: Folder,
    *,
    tell: Callable[[str], None] = ignore,
    patience_s: float = LOCK_PATIENCE_S,
) -> None:
    """Find out whether anything can be recorded, without recording. Raises as ``record_many``."""
    with Journal(folder).locked(patience_s) as tail, Index(folder) as index:
        if tail.torn:
            tell(tail.torn)
        index.sync(tail)
        _guard(folder, index, tail)
        path = folder.cache / "probe"
        try:
            durable.write(path, bytes(PROBE_BYTES))
        finally:
            path.unlink(missing_ok=True)


def take_in(
    folder: Folder,
    clock: moment.Clock = moment.now,
    *,
    seal: Seal | None = None,
    tell: Callable[[str], None] = ignore,
    patience_s: float = LOCK_PATIENCE_S,
) -> list[Receipt]:
    """Record what waits in the spool; the receipts, oldest first. Raises as ``record_many``.

    A file is forgotten only once its record is durable. A request that is refused, and a file that
    is none, go to ``spool/rejected``.
    """
    found: list[tuple[Path, Request]] = []
    for path in spooled.waiting(folder):
        try:
            # Spooling was the way of not failing: what is broken is recorded with what is wrong.
            found.append((path, replace(spooled.read(path), strict=False)))
        except FileNotFoundError:
            continue
        except OSError as error:
            tell(f"spool: {error}; it goes on waiting")
        except InvalidEntryError as error:
            tell(f"spool: {spooled.reject(path, str(error))}: {error}")
    if not found:
        return []
    requests = [request for _, request in found]
    receipts = record_many(folder, requests, clock, seal=seal, tell=tell, patience_s=patience_s)
    for (path, _), receipt in zip(found, receipts, strict=True):
        if receipt.outcome == "refused":
            reason = "; ".join(receipt.problems)
            tell(f"spool: {spooled.reject(path, reason)}: {reason}")
        else:
            spooled.done(path)
    return receipts


def rebuild(
    folder: Folder,
    clock: moment.Clock = moment.now,
    *,
    seal: Seal | None = None,
    tell: Callable[[str], None] = ignore,
    patience_s: float = LOCK_PATIENCE_S,
) -> list[Drift]:
    """Make again all that is made of the journal; gives the files that somebody else changed.

    These stay as they are. So does everything while the journal is empty: what was written by hand
    is not ours to replace. A checkpoint is made if the newest one does not cover all.

    Raises:
        LockTimeoutError, JournalDamagedError, CheckpointError, OSError: as ``record_many``.
        ValueError: if a line cannot be rendered.
    """
    if not folder.segments():
        checkpoint.guard(folder, merkle.NONE)
        return []
    with Journal(folder).locked(patience_s) as tail:
        if tail.torn:
            tell(tail.torn)
        # What is rendered is compared while the index is made; only then may it be written.
        with aside(partial(project.rebuild, folder)) as rendering, Index(folder) as index:
            index.rebuild(tail)
            checkpoint.guard(folder, index.head())
            if not tail.seq:
                return []
            batch = Batch(folder, tail, index, clock())
            rendering.allow()
            drifts = rendering.result()
            _note(batch, drifts, tell)
            (seal or Seal()).publish(folder, index.head())
    return drifts


def check(folder: Folder) -> list[str]:
    """What is not byte for byte as the journal renders it, a line for each; changes nothing.

    Raises:
        ValueError: if a line cannot be rendered.
        CheckpointError: if there are no lines any more.
        OSError: if a file cannot be read.
    """
    if next(Journal(folder).lines(), None):
        return project.check(folder)
    checkpoint.guard(folder, merkle.NONE)
    return []


def _guard(folder: Folder, index: Index, tail: Tail) -> None:
    try:
        checkpoint.guard(folder, index.head())
    except CheckpointError:
        # The index may be of a damaged journal that was put back from a copy meanwhile.
        index.rebuild(tail)
        checkpoint.guard(folder, index.head())


def _render(batch: Batch, tell: Callable[[str], None]) -> None:
    """Bring the rendered files up to the journal; the record stands whatever comes of it."""
    try:
        _note(batch, project.project(batch.folder), tell)
    except (OSError, ValueError) as error:
        tell(
            f"the record stands in the journal, the changelog could not be rendered: {error}; "
            "it is made up for with the next record, or by: ./run ledger rebuild"
        )


def _note(batch: Batch, drifts: Sequence[Drift], tell: Callable[[str], None]) -> None:
    """Record each drift that was not told before."""
    for drift in drifts:
        tell(str(drift))
        if drift.new:
            batch.note(DRIFT, drift.data())
    batch.write()
