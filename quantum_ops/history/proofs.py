"""The only place that proves what is in the archive: from the nodes that its indexes keep.

The tree over all lines is a tree over the nodes of level ``TILE``, the last of which may stand for
fewer leaves; only the lines of the tiles that a proof goes through are read.
"""

from __future__ import annotations

from functools import lru_cache

from quantum_ops.history.blocks import TILE
from quantum_ops.history.reader import Archive
from quantum_ops.ledger import merkle
from quantum_ops.ledger.merkle import Tree

WIDTH = 1 << TILE
KEPT_TILES = 64


class Grown(Tree):
    """The tree of an archive, as far as it was read when this was made.

    ``root``, ``inclusion`` and ``consistency`` are those of
    :class:`~quantum_ops.ledger.merkle.Tree`; leaves are the entries, in the archive's order.
    """

    def __init__(self, archive: Archive) -> None:
        tiles = [bytes.fromhex(tile) for one in archive.segments for tile in one.tiles()]
        super().__init__(tiles)
        self._archive = archive
        self._tile = lru_cache(KEPT_TILES)(self._read_tile)

    @property
    def size(self) -> int:
        """How many leaves it has."""
        return len(self._archive)

    def _range(self, low: int, high: int) -> bytes:
        width = high - low
        if width & (width - 1) == 0:
            level = width.bit_length() - 1
            if level >= TILE:
                return self._levels[level - TILE][low >> level]
            tile = self._tile(low >> TILE)
            return tile._range(low & WIDTH - 1, (low & WIDTH - 1) + width)  # noqa: SLF001 - the same class
        middle = low + (1 << (width - 1).bit_length() - 1)
        return merkle.node(self._range(low, middle), self._range(middle, high))

    def _read_tile(self, number: int) -> Tree:
        start = number << TILE
        leaves = []
        for found in self._archive.numbered(start=start):
            leaves.append(merkle.leaf(found.line))
            if len(leaves) == WIDTH:
                break
        return Tree(leaves)
