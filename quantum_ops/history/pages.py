"""The only place that knows the bytes of a lookup file: pages that prove themselves, read by seek.

Every page of ``PAGE`` bytes ends with a digest over what the file belongs to, the page's number and
its content. So a page that was damaged, cut, moved or taken from the file of another segment is
refused by itself, without reading the others. The first pages hold a document, the rest postings:
six bytes each, a term's print (32 bits) and the number of a block (16 bits), in order.
"""

from __future__ import annotations

import bisect
import hashlib
import os
import struct
from collections.abc import Sequence

PAGE = 4096
DIGEST = 16
BODY = PAGE - DIGEST
POSTING = 6
PER_PAGE = BODY // POSTING
MAX_BLOCKS = 1 << 16
_HEAD = struct.Struct(">8sIQ")
_MAGIC = b"qlookup1"
GUESSES = 4
"""Pages that are tried before halving: prints are spread evenly, so the first mostly hits, or the
one beside it."""


class UnfitError(ValueError):
    """The file is not the lookup file of its segment, or no longer. It is not believed."""


def encode(fits: bytes, document: bytes, postings: Sequence[int]) -> bytes:
    """The file. ``fits`` names what it belongs to; ``postings`` are sorted (see ``posting``)."""
    head = _HEAD.pack(_MAGIC, len(document), len(postings)) + document
    bodies = [head[at : at + BODY] for at in range(0, len(head), BODY)]
    packed = b"".join([one.to_bytes(POSTING, "big") for one in postings])
    step = PER_PAGE * POSTING
    bodies += [packed[at : at + step] for at in range(0, len(packed), step)]
    pages = (body.ljust(BODY, b"\0") for body in bodies)
    return b"".join(page + _digest(fits, number, page) for number, page in enumerate(pages))


def posting(print_: int, block: int) -> int:
    """A posting as a number: sorted by these, a file is searched by halving."""
    return print_ << 16 | block


class Pages:
    """A lookup file, open for reading as ``number``.

    Every method raises :class:`UnfitError` for pages that are not those that were written.
    """

    def __init__(self, number: int, fits: bytes) -> None:
        self._number = number
        self._fits = fits
        first = self._page(0)
        magic, self._document, self._postings = _HEAD.unpack_from(first)
        self._start = _pages(_HEAD.size + self._document, BODY)
        self._count = _pages(self._postings, PER_PAGE)
        size = os.fstat(number).st_size
        if magic != _MAGIC or size != (self._start + self._count) * PAGE:
            raise UnfitError(f"has {size} bytes, not those that its head tells")

    def document(self) -> bytes:
        """The document."""
        content = b"".join([self._page(at) for at in range(self._start)])
        return content[_HEAD.size : _HEAD.size + self._document]

    def check(self) -> None:
        """Read every page."""
        for at in range(self._start + self._count):
            self._page(at)

    def blocks(self, print_: int) -> list[int]:
        """The numbers of the blocks that may hold a term with this print."""
        low, high = posting(print_, 0), posting(print_, MAX_BLOCKS - 1)
        found: list[int] = []
        for at in range(self._first(low, print_), self._count):
            page, held = self._held(at)
            start = bisect.bisect_left(range(held), low, key=lambda n: _read(page, n))
            for number in range(start, held):
                one = _read(page, number)
                if one > high:
                    return found
                found.append(one & MAX_BLOCKS - 1)
        return found

    def _first(self, wanted: int, print_: int) -> int:
        """The first page of postings whose last one is not below ``wanted``."""
        low, high, tries = 0, self._count, 0
        at = print_ * self._count >> 32
        while low < high:
            at = min(max(at, low), high - 1)
            page, held = self._held(at)
            if _read(page, held - 1) < wanted:
                low = at = at + 1
            elif at == low or _read(page, 0) < wanted:
                return at
            else:
                high, at = at, at - 1
            tries += 1
            if tries >= GUESSES:
                at = (low + high) // 2
        return low

    def _held(self, at: int) -> tuple[bytes, int]:
        """A page of postings, and how many it has."""
        return self._page(self._start + at), min(PER_PAGE, self._postings - at * PER_PAGE)

    def _page(self, at: int) -> bytes:
        try:
            content = os.pread(self._number, PAGE, at * PAGE)
        except OSError as error:
            raise UnfitError(f"cannot be read ({error.strerror})") from None
        body = content[:BODY]
        if len(content) != PAGE or content[BODY:] != _digest(self._fits, at, body):
            raise UnfitError(f"page {at} is not the one that was written for this segment")
        return body


def _digest(fits: bytes, number: int, body: bytes) -> bytes:
    return hashlib.sha256(b"%b\0%d\0%b" % (fits, number, body)).digest()[:DIGEST]


def _read(page: bytes, number: int) -> int:
    return int.from_bytes(page[number * POSTING : (number + 1) * POSTING], "big")


def _pages(count: int, each: int) -> int:
    return -(-count // each)
