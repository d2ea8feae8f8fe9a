"""The only place that carries a restore out.

Streams are filled beside the real ones, read back and compared; then the keys; then one step puts
the streams in their place and tells of it. Killed anywhere, it is begun again with the same words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import walrus

from quantum_ops import streams
from quantum_ops.events import AuditFinding
from quantum_ops.history.ahead import Believed
from quantum_ops.history.books import Books
from quantum_ops.history.gaps import Book
from quantum_ops.history.reader import Archive
from quantum_ops.recovery.errors import RestoreError
from quantum_ops.recovery.plan import Plan
from quantum_ops.recovery.refill import Refill, last_generated
from quantum_ops.recovery.sweep import Sum, sweep
from quantum_ops.recovery.timeline import live

FINDING = "redis_restored"
MAX_NAMED = 50


class Done(NamedTuple):
    """What was done: entries by stream, and keys that were missing, by what they are of."""

    sums: dict[str, Sum]
    keys: dict[str, int]
    resumed: bool


def carry_out(
    plan: Plan,
    archive: Archive,
    db: walrus.Database,
    by: str,
    tell: Callable[[str], None] = lambda _text: None,
) -> Done:
    """Do what ``plan`` says. Nobody else may write to the server meanwhile.

    Raises :class:`RestoreError`, before anything that readers see was changed.
    """
    if plan.conflicting:
        raise RestoreError(
            f"{plan.conflicting} entries of the server have other content than the archive has "
            "under their ids: it is another system's server, or another system's archive"
        )
    refill = Refill(db, plan.windows, plan.identity, plan.bounds)
    if refill.resumed:
        tell("an earlier restore was interrupted; going on where it was")
    sums = sweep(
        Believed(archive.folder, plan.bounds),
        plan.known,
        plan.windows,
        live(db, plan.bounds),
        positions=plan.positions,
        sink=refill.add,
    )
    refill.finish(sums, plan.positions)
    for key, (count, digest) in refill.digests().items():
        if (count, digest) != (sums[key].kept, sums[key].digest):
            raise RestoreError(
                f"{key}: {count} entries were read back, {sums[key].kept} were written, or their "
                "bytes differ; nothing was changed. Restore again"
            )
        tell(f"{streams.short(key)}: {count} entries, read back as they were written")
    _keep_books(archive, db, sums)
    written = {}
    for what, keys in plan.keys.items():
        missing = keys.missing(db)
        missing.write(db)
        written[what] = len(missing)
    refill.commit(plan.positions_written(), _finding(plan, archive, sums, by))
    return Done(sums, written, refill.resumed)


def _keep_books(archive: Archive, db: walrus.Database, sums: dict[str, Sum]) -> None:
    """Note in the archive's books how the streams stand now, or it would tell of gaps."""
    books, spans = Books(archive.folder), archive.spans()
    for key, one in sums.items():
        known = spans[key].count if key in spans else 0
        trimmed = int(db.hget(streams.ARCHIVE_TRIMMED, key) or 0)
        last = "{}-{}".format(*last_generated(db, streams.refilled(key)))
        base = one.total - known - one.unarchived
        books.put(key, Book(base, one.total, last, one.older, trimmed))
    books.save()


def _finding(plan: Plan, archive: Archive, sums: dict[str, Sum], by: str) -> AuditFinding:
    """The restore itself is part of the history; critical if it left something unproven."""
    doubtful = len(plan.undecided) + len(plan.interrupted)
    entries = sum(one.kept for one in sums.values())
    missing = sum(one.missing for one in sums.values())
    named = [id_ for id_, _ in plan.undecided] + [one[:80] for one in plan.interrupted]
    return AuditFinding(
        auditor="operator",
        finding=FINDING,
        severity="critical" if doubtful else "warning",
        subject=f"archive {archive.head.size}",
        detail=(
            f"{missing} of {entries} entries came back from the archive of {archive.head.size} "
            f"entries, root {archive.head.root.hex()}; {len(plan.undecided)} plans have no "
            f"archived decision and are denied, {len(plan.interrupted)} plans can no longer be "
            f"judged by their permits;{f' {plan.twice};' if plan.twice else ''} by {by}"
        ),
        evidence=tuple(named[:MAX_NAMED]),
    )
