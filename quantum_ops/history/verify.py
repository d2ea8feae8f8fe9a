"""The only place that judges whether the archive is what was written, and names what is not.

Each line by itself and against its mark, each sealed segment against its sum and its index, the
tree over all of them against every checkpoint so far and those that somebody kept elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import msgspec
import zstandard

from quantum_ops.history import blocks, lookup, marks, salvage, sealing, segment
from quantum_ops.history.blocks import Growing
from quantum_ops.history.errors import DamagedError
from quantum_ops.history.folder import Folder, Name
from quantum_ops.ledger import merkle
from quantum_ops.ledger.checkpoint import Checkpoint, Verifier
from quantum_ops.ledger.report import Fault, Report, held_to


def verify(
    folder: Folder, trusted: Sequence[Checkpoint] = (), verifier: Verifier | None = None
) -> Report:
    """Look through the whole archive; changes nothing and takes no lock.

    ``trusted`` are checkpoints that were kept elsewhere. With ``verifier`` the newest checkpoint,
    and each trusted one, must be signed by that key.
    """
    # Before the lines: a writer beside us only adds to them, and no checkpoint runs ahead of them.
    held = held_to(folder, trusted, verifier, "entries")
    look = _Look(folder, {one.head.size for one in held.every})
    look.all()
    found = held.report(look.frontier.head(), look.segments)
    # Apart: of two checkpoints of one size that differ, ours would cover up the other.
    if look.marked and look.marked.at <= _covered(look, held.every):
        look.faults.remove(look.marked)
        look.notes.append(f"{look.marked.segment}: its marks are damaged; the next start cures it")
    wrong = [*_against(look, held.known), *_against(look, trusted)]
    found.faults = sorted({*look.faults, *wrong, *held.faults})
    found.notes = look.notes + found.notes
    return found


class _Look:
    """The walk through the segments. ``roots`` are those of the tree at the ``sizes`` asked for;
    the ones inside a damaged segment are left out."""  # noqa: D205, D209 - formatted by hand

    def __init__(self, folder: Folder, sizes: set[int]) -> None:
        self.folder = folder
        self.faults: list[Fault] = []
        self.notes: list[str] = []
        self.frontier = merkle.Frontier()
        self.roots: dict[int, bytes] = {0: merkle.EMPTY}
        self.unknown: list[tuple[int, int]] = []
        self.marked: Fault | None = None
        """A line of the open segment of which only its mark says that it was changed."""
        self.starts: list[tuple[int, str]] = []
        self.segments = 0
        self._sizes = sorted(sizes)

    def all(self) -> None:
        """Every segment in turn."""
        try:
            sums = sealing.sums(self.folder)
        except DamagedError as error:
            sums = {}
            self._fault("", 0, str(error))
        names = self.folder.names()
        for number, name in enumerate(names, 1):
            if name.number != (names[number - 2].number + 1 if number > 1 else 1):
                self._fault(str(name), 0, "a segment before it is missing")
            self.segments += 1
            self.starts.append((self.frontier.size, str(name)))
            if self.folder.raw(name).exists():
                self._open(name, newest=number == len(names))
            else:
                self._sealed(name, sums)
        for missing in sorted(sums.keys() - set(map(str, names))):
            self._fault(missing, 0, f"is in {self.folder.sums.name}, but there is no such segment")

    def _open(self, name: Name, *, newest: bool) -> None:
        path = self.folder.raw(name)
        if not newest:
            self._fault(path.name, 0, "is not sealed, though there is a later segment")
        found = bytearray()
        rest, number = b"", 1
        with path.open("rb") as file:
            while chunk := file.read(blocks.BLOCK_BYTES):
                whole, newline, rest = (rest + chunk).rpartition(b"\n")
                if newline:
                    number += self._lines(path.name, number, whole.split(b"\n"), found)
        if rest:
            self.notes.append(
                f"{path.name} line {number}: {len(rest)} bytes without an end of line: a write "
                "that goes on, or was interrupted; the next start puts them aside"
            )
        odd = self._odd(path.name, name, found)
        if odd:
            self.faults.append(odd)
            self.marked = odd

    def _sealed(self, name: Name, sums: dict[str, str]) -> None:
        path = self.folder.packed(name)
        digest, found = hashlib.sha256(), bytearray()
        before, number = self.frontier.size, 1
        growing = Growing(before, merkle.Frontier(before, list(self.frontier.peaks)))
        try:
            for raw in self._frames(name):
                digest.update(raw)
                number += self._lines(path.name, number, raw.rstrip(b"\n").split(b"\n"), found)
                if not raw.endswith(b"\n"):
                    self._fault(path.name, number - 1, "a block ends inside a line")
        except _BlockError as error:
            self._narrow(name, error)
            self._skip(name, before)
            return
        odd = self._odd(path.name, name, found)
        if sums.get(str(name)) == digest.hexdigest():
            if odd:
                why = "are not those of its lines; make them anew with: ./run archive reindex"
                self._fault(self.folder.marks(name).name, 0, why)
        elif odd:
            self.faults.append(odd)
        elif not any(one.segment == path.name for one in self.faults):
            why = "its sum is not the one in" if str(name) in sums else "its sum is missing in"
            self._fault(path.name, 0, f"{why} {self.folder.sums.name}")
        self._index(name, growing)

    def _frames(self, name: Name) -> Iterator[bytes]:
        """The blocks of a sealed segment; raises _BlockError at the first that does not unpack."""
        done, at = 0, []
        try:
            for offset, raw in segment.frames(self.folder.packed(name)):
                yield raw
                at.append(offset)
                done += raw.count(b"\n")
        except zstandard.ZstdError as error:
            raise _BlockError(done, at, str(error)) from None

    def _narrow(self, name: Name, error: _BlockError) -> None:
        """Name every block that does not unpack, and the lines in it, as far as its index tells."""
        path = self.folder.packed(name)
        try:
            index = blocks.decode_index(self.folder.index(name).read_bytes())
        except (OSError, ValueError):
            index = None
        held = index.blocks if index else []
        if not index or [one.packed_at for one in held[: len(error.at)]] != error.at:
            why = f"the block of lines {error.done + 1} on does not unpack ({error})"
            self._fault(path.name, error.done + 1, why)
            return
        packed, marked = path.read_bytes(), marks.read(self.folder.marks(name))
        ends = [one.packed_at for one in held[1:]] + [len(packed)]
        for one, end in list(zip(held, ends, strict=True))[len(error.at) :]:
            before = one.first - index.first
            part = marked[before * marks.SIZE : (before + one.lines) * marks.SIZE]
            found = salvage.judge(packed[one.packed_at : end], part, one.lines)
            if found:
                shown = f"lines {before + 1} to {before + one.lines}"
                first, last = before + found.first, before + found.last
                inside = f"line {first}" if first == last else f"lines {first} to {last}"
                why = (
                    f"the block of {shown} does not unpack ({found.why}); the damage is in {inside}"
                )
                self._fault(path.name, first, why, one.first + found.first)

    def _lines(self, shown: str, number: int, lines: list[bytes], found: bytearray) -> int:
        at, why = segment.first_bad(lines)
        if at:
            self._fault(shown, number + at - 1, why, self.frontier.size + at)
        leaves = merkle.leaves(lines)
        found += marks.of(leaves)
        start = 0
        end = self.frontier.size + len(leaves)
        for size in self._sizes:
            if self.frontier.size < size <= end:
                cut = start + size - self.frontier.size
                self.frontier.extend(leaves[start:cut])
                self.roots[size] = self.frontier.root()
                start = cut
        self.frontier.extend(leaves[start:])
        return len(lines)

    def _odd(self, shown: str, name: Name, found: bytearray) -> Fault | None:
        """The first line that differs from its mark, unless it is named already."""
        odd = marks.compare(marks.read(self.folder.marks(name)), bytes(found))
        if not odd:
            return None
        where, _, why = odd.partition(": ")
        number = int(where.removeprefix("line "))
        if any(one.segment == shown and one.number == number for one in self.faults):
            return None
        return Fault(self.starts[-1][0] + number, shown, number, why)

    def _index(self, name: Name, growing: Growing) -> None:
        path = self.folder.index(name)
        try:
            known = blocks.decode_index(path.read_bytes())
            made = segment.index_anew(self.folder.packed(name), growing)
        except FileNotFoundError:
            self._fault(path.name, 0, "is missing; make it with: ./run archive reindex")
            return
        except (ValueError, DamagedError):
            made = known = None  # type: ignore[assignment]  # told below, or with its line already
        packed = self.folder.packed(name).name
        if any(one.segment == packed for one in self.faults):
            return
        if (
            known is None
            or msgspec.structs.replace(made, packed_sha256=known.packed_sha256) != known
        ):
            why = "is not the index of its segment; make it anew with: ./run archive reindex"
            self._fault(path.name, 0, why)
        elif made.packed_sha256 != known.packed_sha256:
            why = "its file is not the one that was written, though its lines are all intact"
            self._fault(packed, 0, why)
        odd = lookup.problem(segment.Segment(self.folder, name, made)) if known else ""
        if odd:
            why = f"{odd}; make it anew with: ./run archive reindex"
            self._fault(self.folder.lookup(name).name, 0, why)

    def _skip(self, name: Name, before: int) -> None:
        """Go on behind a segment that cannot be read, with what its index says of the tree."""
        try:
            summary = blocks.decode_summary(self.folder.index(name).read_bytes())
            self.frontier = blocks.frontier_of(summary.frontier)
        except (OSError, ValueError):
            self.notes.append(f"behind {name} the tree could not be followed: its index is gone")
            self.unknown.append((before, 1 << 62))
            return
        self.unknown.append((before, self.frontier.size))

    def _fault(self, shown: str, number: int, why: str, at: int = 0) -> None:
        self.faults.append(Fault(at or self.frontier.size, shown, number, why))


class _BlockError(Exception):
    """A block does not unpack; behind ``done`` lines, in blocks that begin ``at`` these bytes."""

    def __init__(self, done: int, at: list[int], why: str) -> None:
        super().__init__(why)
        self.done = done
        self.at = at


def _covered(look: _Look, known: Sequence[Checkpoint]) -> int:
    """How many lines are those of a checkpoint."""
    fits = [one.head.size for one in known if look.roots.get(one.head.size) == one.head.root]
    return max(fits, default=0)


def _against(look: _Look, known: Sequence[Checkpoint]) -> list[Fault]:
    """Where the first of these checkpoints that does not fit proves another history."""
    lines = look.frontier.size
    most = max((one.head.size for one in known), default=0)
    good = 0
    for one in sorted(known, key=lambda one: one.head.size):
        size = one.head.size
        if look.roots.get(size) == one.head.root:
            good = size
            continue
        if any(low < size <= high for low, high in look.unknown):
            continue
        if size > lines:
            shown = look.starts[-1][1] if look.starts else "archive"
            why = f"{most - lines} entries are missing at its end: a checkpoint covers {most}"
            return [Fault(lines + 1, shown, 0, why)]
        if look.faults:
            return []  # what is wrong by itself, and named, is why
        first, shown = max(start for start in look.starts if start[0] <= good)
        why = f"entries {good + 1} to {size} are not those of the checkpoint of {size} entries"
        return [Fault(good + 1, shown, good + 1 - first, why)]
    return []
