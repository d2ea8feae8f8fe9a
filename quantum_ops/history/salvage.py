"""The only place that says where inside a block that does not unpack the damage is. Pure.

A block is packed as one frame, so zstd says no to all of it. But what unpacks before the damage, or
in spite of it, is still compared line by line with the marks: what differs is the narrowest place.
"""

from __future__ import annotations

import contextlib
from typing import NamedTuple

import zstandard

from quantum_ops.history import marks
from quantum_ops.ledger import merkle


class Place(NamedTuple):
    """Lines of the block, from 1, that are not what was written, or cannot be known to be.

    ``why`` is what zstd says of the block.
    """

    first: int
    last: int
    why: str = ""


def judge(packed: bytes, marked: bytes, lines: int) -> Place | None:
    """Where in a block the damage is, as :func:`place` has it; None if it unpacks whole."""
    try:
        zstandard.ZstdDecompressor().decompress(packed)
    except zstandard.ZstdError as error:
        return place(packed, marked, lines)._replace(why=str(error))
    return None


def place(packed: bytes, marked: bytes, lines: int) -> Place:
    """Where in a block of ``lines`` lines the damage is; ``marked`` are the marks of its lines.

    Without marks, or where nothing unpacks, that is the whole block.
    """
    whole = unpacked(packed)
    found = whole.split(b"\n")[:-1]
    known = [marked[at : at + marks.SIZE] for at in range(0, len(marked), marks.SIZE)]
    bad = [
        number
        for number, (line, mark) in enumerate(zip(found, known, strict=False), 1)
        if not any(mark) or merkle.leaf(line)[: marks.SIZE] != mark
    ]
    first = bad[0] if bad else min(len(found), len(known)) + 1
    if first > lines:
        return Place(1, lines)  # all of it unpacks as it was: the sum itself is damaged
    complete = len(found) == lines == len(known)
    return Place(first, bad[-1] if complete else lines)


def unpacked(packed: bytes) -> bytes:
    """What of a frame unpacks before zstd refuses to go on."""
    unpack = zstandard.ZstdDecompressor().decompressobj()
    parts = []
    with contextlib.suppress(zstandard.ZstdError):
        # A byte at a time: what one call had unpacked before it failed is lost with it.
        for at in range(len(packed)):
            parts.append(unpack.decompress(packed[at : at + 1]))  # noqa: PERF401 - what came stays
    return b"".join(parts)
