"""The Merkle tree over the journal's lines (RFC 6962, section 2.1), and its proofs.

A leaf is a line without its LF. The hashes of leaves and of nodes start with different bytes, so no
node can be passed off as a leaf.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple

HASH_BYTES = 32
EMPTY = sha256(b"").digest()
"""The root of the tree without leaves."""


class Head(NamedTuple):
    """How many leaves a tree has, and its root."""

    size: int
    root: bytes


NONE = Head(0, EMPTY)
"""The head of the tree without leaves."""


_leaf, _node = sha256(b"\x00").copy, sha256(b"\x01").copy
"""Hashes that have taken in their first byte: to copy one costs less than to begin one."""


def leaf(line: bytes) -> bytes:
    """The hash of one line (without its LF)."""
    return sha256(b"\x00" + line).digest()


def leaves(lines: Iterable[bytes]) -> list[bytes]:
    """The hashes of many lines."""
    found = []
    for line in lines:
        one = _leaf()
        one.update(line)
        found.append(one.digest())
    return found


def node(left: bytes, right: bytes) -> bytes:
    """The hash of two subtrees."""
    return sha256(b"\x01" + left + right).digest()


def nodes(row: Sequence[bytes]) -> list[bytes]:
    """The hashes of each two subtrees beside each other, an even number of them."""
    found = []
    for left, right in zip(row[::2], row[1::2], strict=True):
        one = _node()
        one.update(left + right)
        found.append(one.digest())
    return found


@dataclass
class Frontier:
    """A growing tree of which only the roots of its full subtrees are kept, the largest first."""

    size: int = 0
    peaks: list[bytes] = field(default_factory=list)

    def append(self, one: bytes) -> None:
        """Add the hash of a leaf."""
        size = self.size
        while size & 1:
            one = node(self.peaks.pop(), one)
            size >>= 1
        self.peaks.append(one)
        self.size += 1

    def extend(self, leaves: Iterable[bytes], level: int = 0) -> list[bytes]:
        """Add the hashes of many leaves; gives the nodes of ``level`` that this completed.

        Level by level, which takes half the time of one leaf after the other.
        """
        row = list(leaves)
        old, size = self.peaks, self.size
        self.size += len(row)
        peaks: list[bytes] = []
        completed: list[bytes] = []
        height = 0
        while row or old:
            if height == level:
                completed = list(row)
            if size >> height & 1:
                row.insert(0, old.pop())
            if len(row) & 1:
                peaks.append(row.pop())
            row = nodes(row)
            height += 1
        self.peaks = peaks[::-1]
        return completed

    def root(self) -> bytes:
        """The root of the tree as it is now."""
        if not self.peaks:
            return EMPTY
        found = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            found = node(peak, found)
        return found

    def head(self) -> Head:
        """Size and root as they are now."""
        return Head(self.size, self.root())

    def pack(self) -> bytes:
        """The state as bytes."""
        return b"%d:%b" % (self.size, b"".join(self.peaks))

    @classmethod
    def unpack(cls, packed: bytes) -> Frontier:
        """The state from bytes.

        Raises:
            ValueError: if these are not what ``pack`` gave.
        """
        number, _, peaks = packed.partition(b":")
        size = int(number)
        if size < 0 or len(peaks) != HASH_BYTES * size.bit_count():
            raise ValueError(f"not the frontier of a tree: {packed[:40]!r}")
        cut = range(0, len(peaks), HASH_BYTES)
        return cls(size, [peaks[at : at + HASH_BYTES] for at in cut])


class Tree:
    """A tree with all its nodes at hand, for proofs. ``leaves`` are hashes of leaves."""

    def __init__(self, leaves: Iterable[bytes]) -> None:
        self._levels = [list(leaves)]
        while len(below := self._levels[-1]) > 1:
            pairs = zip(below[::2], below[1::2], strict=False)
            self._levels.append([node(left, right) for left, right in pairs])

    @property
    def size(self) -> int:
        """How many leaves it has."""
        return len(self._levels[0])

    def root(self, size: int | None = None) -> bytes:
        """The root of the first ``size`` leaves; of all, if not given."""
        size = self.size if size is None else size
        _within("size", size, self.size)
        return self._range(0, size) if size else EMPTY

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """What proves that leaf ``index`` (from 0) is in the tree of the first ``size`` leaves.

        Raises:
            ValueError: if it is not.
        """
        _within("size", size, self.size)
        _within("index", index, size - 1)
        proof = []
        low, high = 0, size
        while high - low > 1:
            middle = low + _split(high - low)
            if index < middle:
                proof.append(self._range(middle, high))
                high = middle
            else:
                proof.append(self._range(low, middle))
                low = middle
        return proof[::-1]

    def consistency(self, old: int, new: int) -> list[bytes]:
        """What proves that the tree of ``new`` leaves starts with the tree of ``old`` ones.

        Raises:
            ValueError: if there are fewer leaves, or ``old`` is above ``new``.
        """
        _within("new", new, self.size)
        _within("old", old, new)
        if old in (0, new):
            return []
        proof = []
        low, high, whole = 0, new, True
        while old != high:
            middle = low + _split(high - low)
            if old <= middle:
                proof.append(self._range(middle, high))
                high = middle
            else:
                proof.append(self._range(low, middle))
                low, whole = middle, False
        if not whole:
            proof.append(self._range(low, high))
        return proof[::-1]

    def _range(self, low: int, high: int) -> bytes:
        """The root over leaves ``low`` to ``high``; ``low`` is where such a subtree may start."""
        width = high - low
        if width & (width - 1) == 0:
            level = width.bit_length() - 1
            return self._levels[level][low >> level]
        middle = low + _split(width)
        return node(self._range(low, middle), self._range(middle, high))


def verify_inclusion(one: bytes, index: int, head: Head, proof: Sequence[bytes]) -> bool:
    """Whether ``proof`` shows that the leaf hash ``one`` is number ``index`` (from 0) of the tree.

    After RFC 9162, section 2.1.3.2.
    """
    if not 0 <= index < head.size:
        return False
    at, last, found = index, head.size - 1, one
    for step in proof:
        if last == 0:
            return False
        if at & 1 or at == last:
            found = node(step, found)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = node(found, step)
        at, last = at >> 1, last >> 1
    return last == 0 and found == head.root


def verify_consistency(  # noqa: C901 - the algorithm as it stands in the RFC
    old: Head, new: Head, proof: Sequence[bytes]
) -> bool:
    """Whether ``proof`` shows that the tree ``new`` starts with the tree ``old``.

    After RFC 9162, section 2.1.4.2. Every tree starts with the empty one, whose root is known.
    """
    if not 0 <= old.size <= new.size:
        return False
    if old.size == 0:
        return not proof and old.root == EMPTY and (new.size > 0 or new.root == EMPTY)
    if old.size == new.size:
        return not proof and old.root == new.root
    steps = list(proof)
    if old.size & (old.size - 1) == 0:
        steps.insert(0, old.root)
    if not steps:
        return False
    at, last = old.size - 1, new.size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    first = second = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            first, second = node(step, first), node(step, second)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            second = node(second, step)
        at, last = at >> 1, last >> 1
    return last == 0 and first == old.root and second == new.root


def _split(width: int) -> int:
    """The largest power of two below ``width``."""
    return 1 << (width - 1).bit_length() - 1


def _within(name: str, value: int, most: int) -> None:
    if not 0 <= value <= most:
        raise ValueError(f"{name}: {value} is not within 0 and {most}")
