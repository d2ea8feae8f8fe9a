"""The only place that judges whether the journal is what was written, and names the first bad line.

Three looks at it: each line by itself and beside its neighbours; the tree against every checkpoint
so far, and against those that somebody kept elsewhere; and where a checkpoint does not fit, the
leaf hashes that the index remembers, once the checkpoint itself has proven them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from quantum_ops.ledger import canonical, checkpoint, entry, ids, index, merkle, moment
from quantum_ops.ledger.checkpoint import Checkpoint, Verifier
from quantum_ops.ledger.folder import Folder
from quantum_ops.ledger.report import Fault, Report, held_to

ENVELOPE = frozenset(
    {"v", "seq", "type", "id", "source", "occurred_at", "recorded_at", "digest", "data"}
)
SOURCE = frozenset({"stream", "stream_id", "host"})
_TYPE = re.compile(r"[a-z]+\.[a-z]+")


def verify(
    folder: Folder, trusted: Sequence[Checkpoint] = (), verifier: Verifier | None = None
) -> Report:
    """Look through the whole journal of ``folder``; changes nothing and takes no lock.

    ``trusted`` are checkpoints that were kept elsewhere. With ``verifier`` the newest checkpoint,
    and each trusted one, must be signed by that key.
    """
    # Before the lines: a writer beside us only adds to them, and no checkpoint runs ahead of them.
    held = held_to(folder, trusted, verifier)
    look = _Look()
    for segment, number, line in _lines(folder):
        look.line(segment, number, line)
    found = held.report(look.frontier.head())
    covered = 0 < found.proven <= found.lines
    for torn in look.torn:
        if covered:
            found.notes.append(f"{torn}; the next append puts these bytes aside")
        else:
            look.faults.append(torn)
    # Apart: of two checkpoints of one size that differ, ours would cover up the other.
    wrong = [*_against(look, held.known, folder), *_against(look, trusted, folder)]
    found.faults = sorted({*look.faults, *wrong, *held.faults})
    unread = checkpoint.unread(folder)
    if unread:
        found.notes.append(
            f"checkpoints.log: {unread} of its checkpoints cannot be read, and prove nothing"
        )
    return found


class _Look:
    """The walk through the lines."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.torn: list[Fault] = []
        self.leaves: list[bytes] = []
        self.places: list[tuple[str, int]] = []
        self.frontier = merkle.Frontier()
        self._seen: dict[str, int] = {}
        self._seq = 0

    def line(self, segment: str, number: int, raw: bytes) -> None:
        """One line with its LF, if it has one."""
        at = len(self.leaves) + 1
        if not raw.endswith(b"\n"):
            why = f"{len(raw)} bytes without an end of line: an interrupted write, or cut"
            self.torn.append(Fault(at, segment, number, why))
            return
        one = merkle.leaf(raw[:-1])
        self.leaves.append(one)
        self.frontier.append(one)
        self.places.append((segment, number))
        try:
            record = canonical.load(raw[:-1])
            why = _wrong(record, segment) or self._out_of_place(record)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            why = str(error) if type(error) is ValueError else f"not a record ({error!r})"
        if why:
            self.faults.append(Fault(at, segment, number, why))
            # One line that is lost or doubled should not make a fault of every line after it.
            self._seq += 1

    def _out_of_place(self, record: dict[str, Any]) -> str:
        seq = record["seq"]
        expected = self._seq + 1
        if seq != expected:
            self._seq = seq - 1
            gone = "lines are missing before it" if seq > expected else "it was put in, or moved"
            return f"record {seq} stands where {expected} belongs: {gone}"
        if record["type"] == index.RECORDED:
            first = self._seen.setdefault(record["id"], seq)
            if first != seq:
                return f"operation {record['id']} was recorded before, in record {first}"
        self._seq = seq
        return ""


def _wrong(record: dict[str, Any], segment: str) -> str:
    """What is wrong with a record by itself; empty if nothing is."""
    if set(record) != ENVELOPE or set(record["source"]) != SOURCE or record["v"] != 1:
        return "its names are not those of a record, version 1"
    if not isinstance(record["seq"], int) or not _TYPE.fullmatch(record["type"]):
        return "its seq or type is none"
    moment.parse(record["occurred_at"])
    moment.parse(record["recorded_at"])
    if record["recorded_at"][:7] > segment[:7]:
        return f"recorded at {record['recorded_at']}, it belongs into a later segment"
    data = record["data"]
    if entry.content_digest(data) != record["digest"]:
        return "its content is not what its digest says"
    if record["type"] == index.RECORDED and not _has_its_id(record):
        return f"its id {record['id']!r} is not the operation's, or none"
    return ""


def _has_its_id(record: dict[str, Any]) -> bool:
    return bool(record["id"] == record["data"]["operation_id"] and ids.is_valid(record["id"]))


def _against(look: _Look, known: Sequence[Checkpoint], folder: Folder) -> list[Fault]:
    """Where the first of these checkpoints that does not fit proves another line, if any does."""
    roots = _roots(look.leaves, {one.head.size for one in known})
    most = max((one.head.size for one in known), default=0)
    good, lines = 0, len(look.leaves)
    # Of two of one size that differ, the one that fits comes first: it is the other that is wrong.
    for one in sorted(
        known, key=lambda it: (it.head.size, roots.get(it.head.size) != it.head.root)
    ):
        size = one.head.size
        if roots.get(size) == one.head.root:
            good = size
            continue
        at = _first_other(look, one.head, folder)
        if at is not None and at < lines:
            why = f"another line than the one recorded, as the checkpoint of {size} records proves"
            return [Fault(at + 1, *look.places[at], why)]
        if size > lines:
            segment, number = look.places[-1] if look.places else ("journal", 0)
            why = f"after it, {most - lines} records are missing: a checkpoint covers {most}"
            for torn in look.torn:
                if torn.at > lines:  # the first of them is there in part, and is the bad line
                    segment, number = torn.segment, torn.number
                    why = f"{most - lines} records from it on are missing or cut: a checkpoint "
                    why += f"covers {most}"
            return [Fault(lines + 1, segment, number, why)]
        if any(good < fault.at <= size + 1 for fault in look.faults):
            return []  # a line that is wrong by itself, and named, is why
        if good == size:
            why = f"a checkpoint says root {one.head.root.hex()[:16]} of {size} records, which is "
            why += "none of these: it was changed, or is another log's"
            return [Fault(0, "", 0, why)]
        why = f"records {good + 1} to {size} are not those of the checkpoint of {size} records"
        return [Fault(good + 1, *look.places[good], why)]
    return []


def _first_other(look: _Look, head: merkle.Head, folder: Folder) -> int | None:
    """The index of the first line that differs from what the checkpoint covers; None if unknown."""
    remembered = index.remembered(folder)[: head.size]
    if len(remembered) < head.size or merkle.Tree(remembered).root() != head.root:
        return None
    for at, one in enumerate(remembered):
        if at >= len(look.leaves) or look.leaves[at] != one:
            return at
    return None


def _roots(leaves: Sequence[bytes], sizes: set[int]) -> dict[int, bytes]:
    frontier = merkle.Frontier()
    found = {0: frontier.root()}
    for one in leaves:
        frontier.append(one)
        if frontier.size in sizes:
            found[frontier.size] = frontier.root()
    return found


def _lines(folder: Folder) -> Iterator[tuple[str, int, bytes]]:
    for path in folder.segments():
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                yield path.name, number, line
                if not line.endswith(b"\n"):
                    break  # a writer beside us may end it meanwhile: that would be half a line
