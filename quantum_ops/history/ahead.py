"""The only place that judges ids that lie ahead of the clock, and says where a stream ends.

Whoever may append may choose the id. A stream takes higher ids only, so one entry of a far future
holds up all honest ones; and whatever asks "up to where" must not be answered with it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final, NamedTuple

from quantum_ops.history.blocks import FIRST, LAST, Key, Span, Spans
from quantum_ops.history.entry import Entry
from quantum_ops.history.folder import Folder
from quantum_ops.history.reader import Archive, until_ms
from quantum_ops.history.segment import Found

FUTURE_MS: Final = 300_000
"""Milliseconds that an id may be ahead of the clock: of two machines, clocks differ by less."""


def limit(now_ms: int) -> Key:
    """The highest id that is believed at ``now_ms``."""
    return until_ms(now_ms + FUTURE_MS)


def above(highest: Key) -> Key:
    """The lowest id behind ``highest`` (:func:`limit`): where what is not believed begins."""
    return highest[0] + 1, 0


def end(archive: Archive, stream: str, highest: Key) -> Key | None:
    """The highest id of ``stream``, None if there is none; behind :data:`LAST` up to ``highest``.

    Any other id of the future has honest ones behind it: the stream goes on there.
    """
    span = archive.spans().get(stream)
    if span is None or span.high < LAST:
        return span.high if span else None
    newest = archive.newest(stream, highest)
    return newest.entry.key if newest else None


class Gap(NamedTuple):
    """``low`` is the end of a stream, ``high`` its lowest id ahead of the clock.

    A stream that was made anew after such an entry goes on in between.
    """

    low: Key
    high: Key

    def with_(self, key: Key, highest: Key) -> Gap:
        """The gap that is left by one more id; ``highest`` as of :func:`limit`."""
        if key > highest:
            return Gap(self.low, min(self.high, key))
        return Gap(max(self.low, key), self.high)


def gap(archive: Archive, stream: str, highest: Key) -> Gap:
    """The gap that the archive has in ``stream``."""
    newest = archive.newest(stream, highest)
    doubted = archive.numbered({stream}, above(highest))
    high = min((one.entry.key for one in doubted), default=LAST)
    return Gap(newest.entry.key if newest else FIRST, high)


class Believed(Archive):
    """The archive in ``folder``; of each stream in ``bounds`` only what is not above its bound."""

    def __init__(self, folder: Folder, bounds: Mapping[str, Key]) -> None:
        self._bounds = bounds
        super().__init__(folder)

    def spans(self) -> Spans:
        """See :class:`Archive`; a stream of which nothing is believed has none."""
        found = super().spans()
        for stream, span in list(found.items()):
            bound = self._bounds.get(stream, LAST)
            if span.high <= bound:
                continue
            newest = self.newest(stream)
            if newest is None:
                del found[stream]
                continue
            doubted = sum(1 for _ in super().numbered({stream}, above(bound)))
            found[stream] = Span(span.count - doubted, span.low, newest.entry.key)
        return found

    def numbered(
        self,
        streams: Collection[str] | None = None,
        since: Key = FIRST,
        until: Key = LAST,
        *,
        start: int = 0,
    ) -> Iterator[Found]:
        """See :class:`Archive`."""
        for found in super().numbered(streams, since, until, start=start):
            if found.entry.key <= self._bounds.get(found.entry.stream, LAST):
                yield found

    def read(
        self,
        streams: Collection[str] | None = None,
        since: Key = FIRST,
        until: Key = LAST,
        *,
        start: int = 0,
    ) -> Iterator[Entry]:
        """See :class:`Archive`."""
        for one in super().read(streams, since, until, start=start):
            if one.key <= self._bounds.get(one.stream, LAST):
                yield one

    def newest(self, stream: str, until: Key = LAST) -> Found | None:
        """See :class:`Archive`."""
        return super().newest(stream, min(until, self._bounds.get(stream, LAST)))
