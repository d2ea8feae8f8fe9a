"""The only place that makes the lookup file of a sealed segment, and opens one to read.

It is a pure function of the segment's bytes and its place in the archive: made again at any time,
it has the same bytes. Losing one, or refusing it, costs time only: whoever searches reads the
segment itself then.
"""

from __future__ import annotations

import os
import weakref

from quantum_ops.history import pages, projections, reader, terms
from quantum_ops.history.errors import DamagedError
from quantum_ops.history.folder import Folder, Name
from quantum_ops.history.pages import Pages, UnfitError
from quantum_ops.history.projections import OF, Snapshot
from quantum_ops.history.segment import Segment
from quantum_ops.ledger import durable


class Making:
    """The lookup file of one sealed segment, made some blocks at a time.

    Raises :class:`DamagedError` if there is no index, or a block that does not unpack.
    """

    def __init__(self, folder: Folder, name: Name) -> None:
        self._segment = Segment(folder, name, reader.summary(folder, name))
        self._blocks = self._segment.blocks()
        if len(self._blocks) > pages.MAX_BLOCKS:
            raise DamagedError(f"{name}: {len(self._blocks)} blocks are more than can be looked up")
        self._next = 0
        self._postings: list[int] = []
        self._snapshot = Snapshot()

    def step(self, blocks: int) -> bool:
        """Look through so many more blocks; whether all of them are done."""
        wanted = range(self._next, min(self._next + blocks, len(self._blocks)))
        for number in wanted:
            prints: set[int] = set()
            for found in self._segment.entries(self._blocks, [number]):
                prints |= terms.prints(found.entry)
                if found.entry.stream in OF:
                    self._snapshot.of(found.entry.stream).add(found)
            self._postings += [pages.posting(one, number) for one in prints]
        self._next = wanted.stop
        return self._next == len(self._blocks)

    def write(self) -> None:
        """Write the file. Raises ``OSError`` if the disk refuses: an older one is as it was."""
        document = projections.encode(self._snapshot)
        content = pages.encode(_fits(self._segment), document, sorted(self._postings))
        durable.write(self._segment.folder.lookup(self._segment.name), content)


def make(folder: Folder, name: Name) -> None:
    """Make the file of a sealed segment; raises as :class:`Making` does."""
    making = Making(folder, name)
    while not making.step(pages.MAX_BLOCKS):
        pass
    making.write()


def look(segment: Segment) -> Pages:
    """The lookup file of a sealed segment, open until it is let go of.

    Raises :class:`UnfitError` if there is none that fits.
    """
    path = segment.folder.lookup(segment.name)
    try:
        number = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        raise UnfitError("is not made yet") from None
    except OSError as error:
        raise UnfitError(f"cannot be read ({error.strerror})") from None
    try:
        made = Pages(number, _fits(segment))
    except BaseException:
        os.close(number)
        raise
    weakref.finalize(made, os.close, number)
    return made


def snapshot(held: Pages) -> Snapshot:
    """The projections in a lookup file. Raises :class:`UnfitError`."""
    try:
        return projections.decode(held.document())
    except UnfitError:
        raise
    except ValueError as error:
        raise UnfitError(f"its document is none ({error})") from None


def problem(segment: Segment) -> str:
    """Why the file is not believed, all of it read; empty if it is. Not made yet is no problem."""
    if not segment.folder.lookup(segment.name).exists():
        return ""
    try:
        look(segment).check()
    except UnfitError as error:
        return str(error)
    return ""


def missing(segment: Segment) -> bool:
    """Whether the file has to be made: there is none, or one that does not begin as it must."""
    try:
        look(segment)
    except UnfitError:
        return True
    return False


def _fits(segment: Segment) -> bytes:
    """What the file of this segment is bound to: its bytes and its place in the archive."""
    return f"{terms.VERSION}/{segment.sha256}/{segment.first}/{segment.lines}".encode()
