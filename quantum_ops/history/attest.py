"""The only place that proves to others what is in the archive, and compares proofs with it.

made = attest(archive, [("quantum:stream:apply.plan", "1769494530123-0")])
made.text()   # the file; ./run verify checks it anywhere
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from quantum_ops import entry_id, streams
from quantum_ops.history.bundle import FORMAT, Absent, Bundle, Later, Proven, shown
from quantum_ops.history.errors import DamagedError
from quantum_ops.history.proofs import Grown
from quantum_ops.history.reader import Archive
from quantum_ops.history.segment import Found
from quantum_ops.ledger import checkpoint
from quantum_ops.ledger.checkpoint import Checkpoint, Verifier
from quantum_ops.ledger.errors import CheckpointError


def attest(
    archive: Archive, rests_on: Iterable[tuple[str, str]], keys: Collection[Verifier] = ()
) -> Bundle:
    """The proof of these entries, each a stream (key or name) and an id; JSON-able, self-contained.

    Of an id that came again with other content all are in it. Entries behind the newest checkpoint
    stand in it as ``later``, entries that the archive does not have as ``absent``. The one of
    ``keys`` that signed goes with the proof, to be asked for; trust in it does not.

    Raises:
        DamagedError: if the archive is not what its newest checkpoint says. Nothing is proven then.
        ValueError: if an id is none.
    """
    wanted = {(_key(stream), entry_id.parse(id_)) for stream, id_ in rests_on}
    known = _newest(archive)
    if known and known.head.size > len(archive):
        archive = Archive(archive.folder)  # it grew since it was opened
    tree = Grown(archive)
    _check(archive, tree, known)
    size = known.head.size if known else 0
    found: dict[int, Found] = {}
    absent = []
    for stream, id_ in sorted(wanted):
        here = archive.find(stream, id_)
        found.update((one.at, one) for one in here)
        if not here:
            absent.append(Absent(stream, "{}-{}".format(*id_)))
    entries, later = [], []
    for at, one in sorted(found.items()):
        line = one.line.decode()
        if at < size:
            hashes = [shown(step) for step in tree.inclusion(at, size)]
            entries.append(Proven(line, at, hashes))
        else:
            later.append(Later(line, at))
    note = known.text() if known else ""
    vkey = next((key.text() for key in keys if known and key.signed(known)), "")
    return Bundle(FORMAT, note, vkey, entries, later, absent).sealed()


def starts_with(archive: Archive, known: Checkpoint) -> bool:
    """Whether the archive begins with the very entries that ``known`` covers."""
    head = known.head
    return head.size <= len(archive) and Grown(archive).root(head.size) == head.root


def _newest(archive: Archive) -> Checkpoint | None:
    try:
        return checkpoint.newest(archive.folder)
    except CheckpointError as error:
        raise DamagedError(f"{error}; see: ./run archive verify") from None


def _check(archive: Archive, tree: Grown, known: Checkpoint | None) -> None:
    """Nobody is handed a proof that does not hold."""
    if known and (known.head.size > tree.size or tree.root(known.head.size) != known.head.root):
        raise DamagedError(
            f"{archive.folder.base}: is not what its checkpoint of {known.head.size} entries says; "
            "see: ./run archive verify"
        )


def _key(stream: str) -> str:
    try:
        return streams.find(stream).key
    except KeyError:
        return stream  # of an older catalogue: what was archived stays provable
