"""The only place that answers what is in the archive: by time, by id, by number, with proofs.

Reads beside a writer: it sees what was durable when it was opened or refreshed last. Takes no lock
and changes nothing.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache

from quantum_ops.history import blocks, entry, resume, segment
from quantum_ops.history.blocks import FIRST, LAST, Block, Key, Spans
from quantum_ops.history.entry import Entry
from quantum_ops.history.errors import DamagedError
from quantum_ops.history.folder import Folder, Name
from quantum_ops.history.segment import Found, Segment
from quantum_ops.ledger import merkle

KEPT_INDEXES = 8
KEPT_BLOCKS = 8


class Archive:
    """The archive in ``folder``, to read from.

    Order is that of archiving: within one stream that of ids, unless the stream was deleted and
    began anew with lower ones. Every method that takes ``since`` and ``until`` means ids as numbers
    (``entry_id.parse``), both included; for times use :func:`from_ms` and :func:`until_ms`.
    """

    def __init__(self, folder: Folder, *, sealed_only: bool = False) -> None:
        self.folder = folder
        self._sealed_only = sealed_only
        self._sealed: dict[Name, Segment] = {}
        self._blocks = lru_cache(KEPT_INDEXES)(lambda number: self.segments[number].blocks())
        # Who looks for one id looks for the next one, too.
        self._by_id = lru_cache(KEPT_BLOCKS)(self._of_block)
        self.segments: list[Segment] = []
        self.head = merkle.NONE
        self.refresh()

    def refresh(self) -> None:
        """Look again, and see what was archived since.

        Raises :class:`DamagedError` if an index or the open segment is none.
        """
        found: list[Segment] = []
        frontier = merkle.Frontier()
        for name in self.folder.names():
            if self._sealed_only and self.folder.raw(name).exists():
                continue
            one = self._sealed.get(name)
            if one is None:
                one = _look(self.folder, name, frontier)
                if one.sealed:
                    self._sealed[name] = one
            frontier = one.frontier()
            found.append(one)
        self.segments = found
        self.head = frontier.head()
        self._blocks.cache_clear()
        self._by_id.cache_clear()

    def __len__(self) -> int:
        """How many entries there are."""
        return self.head.size

    def spans(self) -> Spans:
        """How many entries of each stream there are, with the lowest and the highest id."""
        found: Spans = {}
        for one in self.segments:
            blocks.merge(found, one.spans)
        return found

    def blocks(self, number: int) -> Sequence[Block]:
        """What lies where in ``segments[number]``; of sealed ones the last few are remembered."""
        return self._blocks(number)

    def read(
        self,
        streams: Collection[str] | None = None,
        since: Key = FIRST,
        until: Key = LAST,
        *,
        start: int = 0,
    ) -> Iterator[Entry]:
        """The entries of these streams (keys; all, if None) within these ids.

        From the ``start``-th entry of the archive on. Blocks that hold none of them are not read.
        """
        ends = None if streams is None else tuple(map(entry.tail, streams))
        decode = entry.decode
        for segment_, held, wanted in self._wanted(streams, since, until, start):
            for block, raw in segment_.raw(held, wanted):
                lines = raw[:-1].split(b"\n")
                if start > block.first:
                    lines = lines[start - block.first :]
                # One at a time: a block of them decoded at once takes a third longer, because all
                # of them are alive together. Most blocks are wanted whole: then none is looked at.
                if all(
                    (streams is None or stream in streams)
                    and since <= span.low
                    and span.high <= until
                    for stream, span in block.spans.items()
                ):
                    yield from map(decode, lines)
                    continue
                for line in lines:
                    if ends is not None and not line.endswith(ends):
                        continue
                    one = decode(line)
                    if since <= one.key <= until:
                        yield one

    def numbered(
        self,
        streams: Collection[str] | None = None,
        since: Key = FIRST,
        until: Key = LAST,
        *,
        start: int = 0,
    ) -> Iterator[Found]:
        """As ``read``, each entry with its number and its line."""
        for one, held, wanted in self._wanted(streams, since, until, start):
            for found in one.entries(held, wanted):
                kept = streams is None or found.entry.stream in streams
                if kept and found.at >= start and since <= found.entry.key <= until:
                    yield found

    def find(self, stream: str, key: Key) -> list[Found]:
        """The entry of that id. More than one if the stream was deleted and an id came again."""
        found: list[Found] = []
        for number, one in enumerate(self.segments):
            if stream not in one.spans or not one.spans[stream].meets(key, key):
                continue
            for at, block in enumerate(self._blocks(number)):
                if block.may_hold(stream, key):
                    found += self._by_id(number, at).get((stream, key), ())
        return found

    def newest(self, stream: str, until: Key = LAST) -> Found | None:
        """The entry of ``stream`` with the highest id up to ``until``; None if there is none."""
        best: tuple[Key, int, bytes] | None = None
        end = entry.tail(stream)
        for number in reversed(range(len(self.segments))):
            one = self.segments[number]
            span = one.spans.get(stream)
            if span is None or span.low > until or (best and span.high < best[0]):
                continue
            held = self._blocks(number)
            for at in reversed(range(len(held))):
                span = held[at].spans.get(stream)
                if span is None or span.low > until or (best and span.high < best[0]):
                    continue
                ((block, raw),) = one.raw(held, [at])
                for where, line in enumerate(raw[:-1].split(b"\n"), block.first):
                    if not line.endswith(end):
                        continue
                    key = entry.key_of(line, end)
                    # Of an id that came again, the later one: it is what readers saw last.
                    if key <= until and (best is None or (key, where) > best[:2]):
                        best = (key, where, line)
        return best and Found(best[1], entry.decode(best[2]), best[2])

    def line(self, at: int) -> bytes:
        """The ``at``-th line (from 0), without LF. Raises ``IndexError`` if there is none."""
        for found in self.numbered(start=at):
            return found.line
        raise IndexError(f"the archive has {len(self)} entries, none at {at}")

    def _of_block(self, number: int, at: int) -> dict[tuple[str, Key], list[Found]]:
        found: dict[tuple[str, Key], list[Found]] = {}
        for one in self.segments[number].entries(self._blocks(number), [at]):
            found.setdefault((one.entry.stream, one.entry.key), []).append(one)
        return found

    def _wanted(
        self, streams: Collection[str] | None, since: Key, until: Key, start: int
    ) -> Iterator[tuple[Segment, Sequence[Block], list[int]]]:
        """Segments that hold such entries, their blocks, and the numbers of those that do."""

        def meets(spans: Spans) -> bool:
            return any(
                span.meets(since, until)
                for stream, span in spans.items()
                if streams is None or stream in streams
            )

        for number, one in enumerate(self.segments):
            if one.first + one.lines <= start or not meets(one.spans):
                continue
            held = self._blocks(number)
            wanted = [
                at
                for at, block in enumerate(held)
                if block.first + block.lines > start and meets(block.spans)
            ]
            yield one, held, wanted


def from_ms(ms: int) -> Key:
    """The lowest id of that millisecond: ``since=from_ms(t)``."""
    return ms, 0


def until_ms(ms: int) -> Key:
    """The highest id of that millisecond: ``until=until_ms(t)``."""
    return ms, LAST[1]


def _look(folder: Folder, name: Name, frontier: merkle.Frontier) -> Segment:
    """A segment that was not known yet; ``frontier`` is the tree before it."""
    try:
        # While there is a raw file, it is the truth: a sealed one beside it may be unfinished.
        number = os.open(folder.raw(name), os.O_RDONLY)
    except FileNotFoundError:
        return Segment(folder, name, summary(folder, name))
    try:
        with open(number, "rb", closefd=False) as file:
            known = resume.resumed(folder, name, file, frontier)
            growing, _ = segment.read_open(file, folder.raw(name), frontier.size, frontier, known)
    except BaseException:
        os.close(number)
        raise
    made = Segment(folder, name, growing, number)
    weakref.finalize(made, os.close, number)
    return made


def summary(folder: Folder, name: Name) -> blocks.Summary:
    """What the index of a sealed segment says; raises :class:`DamagedError` if there is none."""
    path = folder.index(name)
    try:
        return blocks.decode_summary(path.read_bytes())
    except FileNotFoundError:
        raise DamagedError(f"{path}: is missing; make it with: ./run archive reindex") from None
    except ValueError as error:
        raise DamagedError(
            f"{path}: is no index ({error}); make it anew with: ./run archive reindex"
        ) from None
