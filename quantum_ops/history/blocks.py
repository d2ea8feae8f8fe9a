"""The only place that knows what lies where in a segment: blocks, and what each holds.

A block is a run of whole lines, about ``BLOCK_BYTES`` long. In a sealed segment each block is a
zstd frame of its own, so that a reader can seek to it; to zstd itself they are one file. An index
can be made again from its segment at any time: losing one costs time only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from quantum_ops.history import marks
from quantum_ops.ledger import merkle

BLOCK_BYTES = 256 * 1024
"""Read, unpacked and looked through in two milliseconds; larger ones hardly pack better."""
TILE = 8
"""Level of the tree's nodes that an index keeps, one for 256 lines: enough for quick proofs."""
Key = tuple[int, int]
"""An entry id as numbers."""
FIRST: Key = (0, 0)
LAST: Key = (2**64 - 1, 2**64 - 1)


class Span(msgspec.Struct, array_like=True, gc=False):
    """What is there of one stream: how many entries, and the lowest and the highest id."""

    count: int
    low: Key
    high: Key

    def meets(self, since: Key, until: Key) -> bool:
        """Whether an entry from ``since`` to ``until`` (both included) may be among them."""
        return self.low <= until and self.high >= since


Spans = dict[str, Span]
"""Stream key -> its span."""


class Block(msgspec.Struct, array_like=True, gc=False):
    """One block and what is in it.

    ``at`` and ``packed_at`` are its offsets in the raw and in the sealed segment, ``first`` is how
    many lines the archive has before it, ``lines`` how many it has itself.
    """

    at: int
    packed_at: int
    first: int
    lines: int
    spans: Spans

    def may_hold(self, stream: str, key: Key) -> bool:
        """Whether an entry of that id may be in it."""
        span = self.spans.get(stream)
        return span is not None and span.meets(key, key)


class Summary(msgspec.Struct):
    """What a sealed segment holds as a whole.

    ``first`` counts the archive's lines before it, ``sha256`` is that of its raw bytes,
    ``frontier`` the tree behind its last line.
    """

    first: int
    lines: int
    raw_bytes: int
    sha256: str
    frontier: str
    spans: Spans


class Index(Summary):
    """All that is known of a sealed segment.

    ``tiles`` are the tree's nodes of level ``TILE`` that were completed in it, in order, in hex.
    ``packed_sha256`` is that of the sealed file itself: zstd has bits that change nothing.
    """

    tiles: list[str]
    blocks: list[Block]
    packed_sha256: str


encode = msgspec.json.Encoder(order="deterministic").encode
decode_summary = msgspec.json.Decoder(Summary).decode
decode_index = msgspec.json.Decoder(Index).decode


def merge(into: Spans, spans: Spans) -> None:
    """Count ``spans`` into ``into``."""
    for stream, span in spans.items():
        known = into.get(stream)
        if known is None:
            into[stream] = Span(span.count, span.low, span.high)
        else:
            known.count += span.count
            known.low = min(known.low, span.low)
            known.high = max(known.high, span.high)


def tally(keys: Iterable[tuple[str, Key]]) -> Spans:
    """What entries with these streams and ids amount to."""
    spans: Spans = {}
    for stream, key in keys:
        known = spans.get(stream)
        if known is None:
            spans[stream] = Span(1, key, key)
            continue
        known.count += 1
        if key > known.high:
            known.high = key
        elif key < known.low:
            known.low = key
    return spans


@dataclass(slots=True)
class Growing:
    """The index of a segment that is still written, kept in step with its lines."""

    first: int
    frontier: merkle.Frontier
    size: int = 0
    lines: int = 0
    tiles: list[str] = field(default_factory=list)
    marks: bytearray = field(default_factory=bytearray)
    blocks: list[Block] = field(default_factory=list)

    def grow(self, lines: Sequence[bytes], spans: Spans) -> None:
        """Take in ``lines`` (without LF) that were appended; ``spans`` is what they are."""
        block = self.blocks[-1] if self.blocks else None
        if block is None or self.size - block.at >= BLOCK_BYTES:
            block = Block(self.size, 0, self.first + self.lines, 0, {})
            self.blocks.append(block)
        merge(block.spans, spans)
        block.lines += len(lines)
        self.lines += len(lines)
        self.size += sum(map(len, lines)) + len(lines)
        leaves = merkle.leaves(lines)
        self.marks += marks.of(leaves)
        self.tiles += [tile.hex() for tile in self.frontier.extend(leaves, TILE)]

    def spans(self) -> Spans:
        """What the segment holds so far."""
        found: Spans = {}
        for block in self.blocks:
            merge(found, block.spans)
        return found

    def finished(self, digest: str, packed_at: Sequence[int], packed_digest: str) -> Index:
        """The index of the segment, sealed with its blocks at ``packed_at``."""
        for block, at in zip(self.blocks, packed_at, strict=True):
            block.packed_at = at
        return Index(
            self.first, self.lines, self.size, digest, frontier_text(self.frontier), self.spans(),
            self.tiles, self.blocks, packed_digest,
        )  # fmt: skip


def empty() -> merkle.Frontier:
    """The tree before the first line."""
    return merkle.Frontier()


def frontier_text(frontier: merkle.Frontier) -> str:
    """A frontier as an index keeps it: size, and the peaks in hex."""
    return f"{frontier.size}:{b''.join(frontier.peaks).hex()}"


def frontier_of(text: str) -> merkle.Frontier:
    """A frontier from such a text. Raises ``ValueError`` if it is none."""
    size, _, peaks = text.partition(":")
    return merkle.Frontier.unpack(size.encode() + b":" + bytes.fromhex(peaks))
