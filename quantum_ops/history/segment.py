"""The only place that reads a segment's bytes, open or sealed, and makes its index anew."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec
import zstandard

from quantum_ops import entry_id
from quantum_ops.history import blocks, entry
from quantum_ops.history.blocks import Block, Growing, Index, Key, Summary
from quantum_ops.history.entry import Entry
from quantum_ops.history.errors import DamagedError
from quantum_ops.history.folder import Folder, Name
from quantum_ops.ledger import merkle


class Found(NamedTuple):
    """An entry, its number in the whole archive (from 0; the leaf of the tree), and its line."""

    at: int
    entry: Entry
    line: bytes


@dataclass(frozen=True, slots=True)
class Torn:
    """Bytes behind the last whole line of an open segment."""

    at: int
    size: int


def read_open(
    file: BinaryIO,
    path: Path,
    first: int,
    frontier: merkle.Frontier,
    known: Growing | None = None,
) -> tuple[Growing, Torn]:
    """What the open segment in ``file`` holds, and what is torn off at its end.

    ``frontier`` is the tree before it, which grows; with ``known`` the file is read on behind what
    that holds. Raises :class:`DamagedError` naming the line that is none.
    """
    growing = known or Growing(first, frontier)
    rest = b""
    while chunk := file.read(blocks.BLOCK_BYTES):
        whole, newline, rest = (rest + chunk).rpartition(b"\n")
        if newline:
            grow(growing, whole, path)
    return growing, Torn(growing.size, len(rest))


def grow(growing: Growing, whole: bytes, path: Path) -> None:
    """Take lines that lie in a file into ``growing``; ``whole`` lacks its last LF."""
    lines = whole.split(b"\n")
    try:
        found = entry.decode_many(whole)
        if len(found) != len(lines):
            raise ValueError("an empty line")  # noqa: TRY301 - told below with its number
        spans = blocks.tally((one.stream, one.key) for one in found)
    except ValueError:
        number, why = first_bad(lines)
        raise DamagedError(
            f"{path} line {growing.lines + number}: {why}; see: ./run archive verify"
        ) from None
    growing.grow(lines, spans)


def first_bad(lines: list[bytes]) -> tuple[int, str]:
    """Number (from 1) of the first line that is no entry in canonical form, and why; 0 if none."""
    for number, line in enumerate(lines, 1):
        why = wrong(line)
        if why:
            return number, why
    return 0, ""


def wrong(line: bytes) -> str:
    """Why ``line`` is no archived entry in canonical form; empty if it is one."""
    try:
        one = entry.decode(line)
        entry_id.parse(one.id)
        same = entry.encode(one.stream, one.id.encode(), one.flat) == line
    except (ValueError, IndexError, msgspec.MsgspecError) as error:
        return f"not an archived entry ({str(error)[:100]})"
    return "" if same else "not in canonical form (order of names, spaces or escapes)"


def frames(path: Path) -> Iterator[tuple[int, bytes]]:
    """The frames of a sealed segment: offset, and the raw bytes.

    Raises ``zstandard.ZstdError`` where they are damaged or cut.
    """
    with path.open("rb") as file:
        at, rest = 0, b""
        while True:
            unpack = zstandard.ZstdDecompressor().decompressobj()
            parts, begun = [], False
            while not unpack.eof:
                chunk = rest or file.read(blocks.BLOCK_BYTES)
                rest = b""
                if not chunk:
                    if begun:
                        raise zstandard.ZstdError("the last frame is cut")
                    return
                begun = True
                parts.append(unpack.decompress(chunk))
                rest = unpack.unused_data
            yield at, b"".join(parts)
            at = file.tell() - len(rest)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def index_anew(path: Path, growing: Growing) -> Index:
    """The index of a sealed segment, made from its bytes. ``growing`` takes them in.

    Raises :class:`DamagedError` naming the first line that is none.
    """
    digest = hashlib.sha256()
    packed_at = []
    try:
        for at, raw in frames(path):
            packed_at.append(at)
            digest.update(raw)
            if not raw.endswith(b"\n"):
                raise DamagedError(f"{path} line {growing.lines + 1}: the block ends in a line")
            # One block for each frame, whatever its size.
            part = Growing(growing.first + growing.lines, growing.frontier, growing.size)
            grow(part, raw[:-1], path)
            growing.blocks += part.blocks
            growing.tiles += part.tiles
            growing.marks += part.marks
            growing.size, growing.lines = part.size, growing.lines + part.lines
    except zstandard.ZstdError as error:
        raise DamagedError(
            f"{path} after line {growing.lines}: does not unpack ({error})"
        ) from None
    return growing.finished(digest.hexdigest(), packed_at, sha256_of(path))


def find(block: Block, raw: bytes, stream: str, key: Key) -> list[Found]:
    """The entries of that id in a block: it is searched for the bytes that end their lines."""
    found = []
    # Quotes inside a field are escaped: only the end of a line looks like this.
    end = entry.ending(stream, key)
    at = raw.find(end)
    while at >= 0:
        line = raw[raw.rfind(b"\n", 0, at) + 1 : at + len(end) - 1]
        found.append(Found(block.first + raw.count(b"\n", 0, at), entry.decode(line), line))
        at = raw.find(end, at + 1)
    return found


class Segment:
    """One segment to read from: sealed, or the open one as it was when it was looked at.

    The open one is read through the file that was opened then, ``number``: should it be sealed
    meanwhile, its bytes are still there.
    """

    def __init__(
        self, folder: Folder, name: Name, found: Summary | Growing, number: int | None = None
    ) -> None:
        self.folder = folder
        self.name = name
        self.first = found.first
        self.lines = found.lines
        self.spans = found.spans if isinstance(found, Summary) else found.spans()
        self.sealed = isinstance(found, Summary)
        self.sha256 = found.sha256 if isinstance(found, Summary) else ""
        self._found = found
        self._number = number

    def blocks(self) -> list[Block]:
        """What lies where. Of a sealed segment it is read anew each time: memory stays flat."""
        if isinstance(self._found, Growing):
            return self._found.blocks
        return self.index().blocks

    def frontier(self) -> merkle.Frontier:
        """The tree behind its last line."""
        if isinstance(self._found, Growing):
            return self._found.frontier
        return blocks.frontier_of(self._found.frontier)

    def index(self) -> Index:
        """The index of a sealed segment."""
        return blocks.decode_index(self.folder.index(self.name).read_bytes())

    def tiles(self) -> list[str]:
        """The tree's nodes of level ``blocks.TILE`` that were completed in it."""
        return self._found.tiles if isinstance(self._found, Growing) else self.index().tiles

    def find(self, stream: str, key: Key) -> list[Found]:
        """The entries of that id."""
        held = self.blocks()
        wanted = [at for at, block in enumerate(held) if block.may_hold(stream, key)]
        return [
            found
            for block, raw in self.raw(held, wanted)
            for found in find(block, raw, stream, key)
        ]

    def entries(self, found: Sequence[Block], wanted: Iterable[int]) -> Iterator[Found]:
        """The entries of these blocks; see ``raw``."""
        for block, raw in self.raw(found, wanted):
            for at, line in enumerate(raw[:-1].split(b"\n"), block.first):
                yield Found(at, entry.decode(line), line)

    def raw(self, found: Sequence[Block], wanted: Iterable[int]) -> Iterator[tuple[Block, bytes]]:
        """The blocks with these numbers in ``found`` (all of ``blocks()``), and their bytes.

        Raises :class:`DamagedError` if a block does not unpack.
        """
        if self._number is not None:
            size = self._found.size if isinstance(self._found, Growing) else 0
            ends = [block.at for block in found[1:]] + [size]
            for number in wanted:
                block = found[number]
                yield block, os.pread(self._number, ends[number] - block.at, block.at)
            return
        path = self.folder.packed(self.name)
        unpack = zstandard.ZstdDecompressor().decompress
        with path.open("rb") as file:
            ends = [block.packed_at for block in found[1:]] + [os.fstat(file.fileno()).st_size]
            for number in wanted:
                block = found[number]
                packed = os.pread(file.fileno(), ends[number] - block.packed_at, block.packed_at)
                try:
                    yield block, unpack(packed)
                except zstandard.ZstdError as error:
                    raise DamagedError(
                        f"{path}: the block behind line {block.first - self.first} does not "
                        f"unpack ({error}); see: ./run archive verify"
                    ) from None
