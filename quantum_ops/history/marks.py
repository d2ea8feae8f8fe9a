"""The only place of marks: a few bytes for each line, which tell which line is not what it was.

A sum or a checkpoint proves that something was changed; marks say where. They prove nothing by
themselves and can be made again; they are written after their lines and may lack the last ones.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from quantum_ops.ledger import durable

SIZE = 8
"""Bytes of a leaf's hash: a tenth of what the line takes packed."""


def of(leaves: Iterable[bytes]) -> bytes:
    """The marks of lines with these leaf hashes."""
    return b"".join([leaf[:SIZE] for leaf in leaves])


def read(path: Path) -> bytes:
    """The marks in a file, whole ones only; none if there is no file."""
    try:
        found = path.read_bytes()
    except FileNotFoundError:
        return b""
    return found[: len(found) // SIZE * SIZE]


def append(path: Path, marks: bytearray, count: int) -> None:
    """Add the last ``count`` of a segment's ``marks``, without making them durable.

    A disk that refuses costs the marks only; they are made again at the next start.
    """
    content = bytes(marks[len(marks) - count * SIZE :])
    with contextlib.suppress(OSError):
        number = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            if os.fstat(number).st_size == len(marks) - len(content):
                durable.write_all(number, content)
        finally:
            os.close(number)


def compare(known: bytes, found: bytes) -> str:
    """Where lines are not those that were marked: ``line 7: ...``; empty if they are.

    Lines beyond the last mark are not judged. Marks that are zero were never written: a machine
    lost power.
    """
    if found.startswith(known):
        return ""
    one = [known[at : at + SIZE] for at in range(0, len(known), SIZE)]
    other = [found[at : at + SIZE] for at in range(0, len(found), SIZE)]
    for number, (was, now) in enumerate(zip(one, other, strict=False), 1):
        if was == now or not any(was):
            continue
        rest, following = one[number : number + 1], other[number : number + 1]
        if rest == [now] or (number == len(one) and len(other) < len(one)):
            return f"line {number}: a line was taken out before it"
        if following == [was]:
            return f"line {number}: it was put in"
        return f"line {number}: another line than the one that was written"
    gone = len(one) - len(other)
    if gone > 0 and any(any(mark) for mark in one[len(other) :]):
        return f"line {len(other)}: {gone} lines are missing after it"
    return ""
