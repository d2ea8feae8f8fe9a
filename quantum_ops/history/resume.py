"""The only place that remembers how far an open segment was read, so that it is not read again.

What was read stands in a file beside it, with the digest of the bytes it was read from: a reader
hashes these, which is a tenth of the work, and goes on behind them. A file that is damaged, or of
other bytes, is passed over: then the segment is read from its start.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import BinaryIO

import msgspec

from quantum_ops.history import blocks
from quantum_ops.history.blocks import Block, Growing
from quantum_ops.history.folder import Folder, Name
from quantum_ops.ledger import durable, merkle

STEP_BYTES = 4 * 1024 * 1024
"""Bytes that are read again at most, a twentieth of a second's work."""
CHUNK = 256 * 1024


class Point(msgspec.Struct):
    """How an open segment stood at ``size`` bytes, whose SHA-256 is ``sha256``.

    ``before`` and ``frontier`` are the trees before its first line and behind these.
    """

    before: str
    size: int
    sha256: str
    lines: int
    frontier: str
    tiles: list[str]
    blocks: list[Block]


_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder(Point).decode


class Follower:
    """Writes the points of one archive, beside its writer."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._name: Name | None = None
        self._digest = hashlib.sha256()
        self._read = 0
        self._written = 0

    def follow(self, name: Name | None, growing: Growing, before: merkle.Frontier) -> bool:
        """Write a point if the open segment has grown enough; whether one was written.

        Of a segment that is open no more the file is removed. Raises ``OSError``.
        """
        if name != self._name:
            self._begin(name)
        if name is None or growing.size - self._written < STEP_BYTES:
            return False
        with self._folder.raw(name).open("rb") as file:
            file.seek(self._read)
            # At most one step a turn: a long segment that was there before us takes several.
            end = min(growing.size, self._read + STEP_BYTES)
            while self._read < end:
                chunk = file.read(min(CHUNK, end - self._read))
                if not chunk:
                    return False
                self._digest.update(chunk)
                self._read += len(chunk)
        if end < growing.size:
            return False
        point = Point(
            blocks.frontier_text(before), growing.size, self._digest.hexdigest(), growing.lines,
            blocks.frontier_text(growing.frontier), growing.tiles, growing.blocks,
        )  # fmt: skip
        content = _encode(point)
        durable.write(self._folder.resume(name), _sum(content) + b"\n" + content)
        self._written = growing.size
        return True

    def _begin(self, name: Name | None) -> None:
        kept = self._folder.resume(name) if name else None
        for path in self._folder.base.glob("*.resume"):
            if path != kept:
                path.unlink(missing_ok=True)
        self._name, self._digest, self._read, self._written = name, hashlib.sha256(), 0, 0


def resumed(folder: Folder, name: Name, file: BinaryIO, before: merkle.Frontier) -> Growing | None:
    """How the open segment in ``file`` stood at its point, and ``file`` behind it.

    None, and ``file`` at its start, if there is no point that fits. Of its marks nothing is known.
    """
    with contextlib.suppress(OSError, ValueError):
        found = _point(folder.resume(name))
        digest, left = hashlib.sha256(), found.size
        while left and (chunk := file.read(min(CHUNK, left))):
            digest.update(chunk)
            left -= len(chunk)
        if (
            not left
            and digest.hexdigest() == found.sha256
            and found.before == blocks.frontier_text(before)
        ):
            return Growing(
                before.size, blocks.frontier_of(found.frontier), found.size, found.lines,
                found.tiles, bytearray(), found.blocks,
            )  # fmt: skip
    file.seek(0, os.SEEK_SET)
    return None


def _point(path: Path) -> Point:
    told, _, content = path.read_bytes().partition(b"\n")
    if told != _sum(content):
        raise ValueError(f"{path}: damaged")
    return _decode(content)


def _sum(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
