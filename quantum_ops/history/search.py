"""The only place that finds archived entries by a term, and puts projections of a moment together.

Sealed segments are looked up in their files; a segment whose file is missing or does not fit is
read as a whole, and ``scanned`` says so. What is found is the same either way. The open segment is
always read: it has no file yet. Memory stays flat: a block at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from quantum_ops.history import entry, lookup
from quantum_ops.history.blocks import LAST, Block, Key
from quantum_ops.history.pages import UnfitError
from quantum_ops.history.projections import OF, Projection
from quantum_ops.history.reader import Archive
from quantum_ops.history.segment import Found, Segment
from quantum_ops.history.terms import Term, of

KEPT_BLOCKS = 8
KEPT_LOOKUPS = 100


class Search:
    """What can be asked of ``archive``; all of it takes entries up to the id ``until`` only."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.scanned: dict[str, str] = {}
        """Sealed segments that had to be read as a whole, and why."""
        # Who asks for one record asks for the next one, too, which mostly stands beside it.
        self._raw = lru_cache(KEPT_BLOCKS)(self._read)
        self._look = lru_cache(KEPT_LOOKUPS)(lambda number: lookup.look(archive.segments[number]))

    def find(self, term: Term, until: Key = LAST) -> Iterator[Found]:
        """The entries that have this term, in the order of archiving."""
        for number, one in enumerate(self.archive.segments):
            if _lowest(one, term) <= until:
                yield from self._of_segment(number, term, until)

    def first(self, term: Term, until: Key = LAST) -> Found | None:
        """The one with the lowest id, of equal ones the one that was archived first."""
        best: Found | None = None
        for number, one in enumerate(self.archive.segments):
            lowest = _lowest(one, term)
            if lowest <= until and (best is None or lowest <= best.entry.key):
                for found in self._of_segment(number, term, until):
                    if best is None or _order(found) < _order(best):
                        best = found
        return best

    def newest(self, term: Term, until: Key = LAST) -> Found | None:
        """The one with the highest id; seeks from the end. Only for terms of one stream."""
        (stream,) = term.streams
        best: Found | None = None
        for number in reversed(range(len(self.archive.segments))):
            one = self.archive.segments[number]
            span = one.spans.get(stream)
            if span is None or span.low > until or (best and span.high < best.entry.key):
                continue
            for at in reversed(self._blocks(number, term)):
                span = self.archive.blocks(number)[at].spans.get(stream)
                if span is None or span.low > until or (best and span.high < best.entry.key):
                    continue
                for found in self._matching(number, at, term, until):
                    if best is None or _order(found) > _order(best):
                        best = found
        return best

    def projection(self, stream: str, until: Key = LAST) -> Projection:
        """The projection of a stream as it was at ``until``."""
        made: Projection = OF[stream]()
        for number, one in enumerate(self.archive.segments):
            span = one.spans.get(stream)
            if span is None or span.low > until:
                continue
            if one.sealed and span.high <= until:
                try:
                    made.merge(lookup.snapshot(self._look(number)).of(stream))
                    continue
                except UnfitError as error:
                    self.scanned[str(one.name)] = str(error)
            for at, block in enumerate(self.archive.blocks(number)):
                if stream in block.spans and block.spans[stream].low <= until:
                    for found in self._lines(number, at, entry.tail(stream)):
                        if found.entry.key <= until:
                            made.add(found)
        return made

    def _of_segment(self, number: int, term: Term, until: Key) -> Iterator[Found]:
        for at in self._blocks(number, term):
            if _meets(self.archive.blocks(number)[at], term, until):
                yield from self._matching(number, at, term, until)

    def _blocks(self, number: int, term: Term) -> list[int]:
        """The blocks of a segment that may hold an entry with this term, in order."""
        one = self.archive.segments[number]
        if one.sealed:
            try:
                found = self._look(number).blocks(term.print)
                # What lies where is read only if something does: most segments hold no such entry.
                if not found or found[-1] < len(self.archive.blocks(number)):
                    return found
                raise UnfitError("names blocks that its segment has not")  # noqa: TRY301 - as any other
            except UnfitError as error:
                self.scanned[str(one.name)] = str(error)
        return list(range(len(self.archive.blocks(number))))

    def _matching(self, number: int, at: int, term: Term, until: Key) -> Iterator[Found]:
        """The entries of one block that have the term."""
        raw = self._raw(number, at)
        tails = tuple(map(entry.tail, term.streams))
        begin, line_number = 0, self.archive.blocks(number)[at].first
        for start, end in _candidates(raw, term.needles):
            line = raw[start:end]
            if line.endswith(tails):
                decoded = entry.decode(line)
                if decoded.key <= until and term in of(decoded):
                    line_number += raw.count(b"\n", begin, start)
                    begin = start
                    yield Found(line_number, decoded, line)

    def _lines(self, number: int, at: int, tail: bytes) -> Iterator[Found]:
        """The entries of one block whose lines end so."""
        first = self.archive.blocks(number)[at].first
        for line_number, line in enumerate(self._raw(number, at)[:-1].split(b"\n"), first):
            if line.endswith(tail):
                yield Found(line_number, entry.decode(line), line)

    def _read(self, number: int, at: int) -> bytes:
        one = self.archive.segments[number]
        ((_, raw),) = one.raw(self.archive.blocks(number), [at])
        return raw


def _candidates(raw: bytes, needles: Sequence[bytes]) -> list[tuple[int, int]]:
    """Where the lines stand that have one of these bytes."""
    found = set()
    for needle in needles:
        at = raw.find(needle)
        while at >= 0:
            end = raw.find(b"\n", at)
            found.add((raw.rfind(b"\n", 0, at) + 1, end))
            at = raw.find(needle, end)
    return sorted(found)


def _lowest(one: Segment, term: Term) -> Key:
    return min((span.low for key, span in one.spans.items() if key in term.streams), default=LAST)


def _meets(block: Block, term: Term, until: Key) -> bool:
    return any(span.low <= until for key, span in block.spans.items() if key in term.streams)


def _order(found: Found) -> tuple[Key, int]:
    return found.entry.key, found.at
