"""The only place that makes hostile inputs of honest ones, the same again from the same seed."""

from __future__ import annotations

import random
from collections.abc import Sequence

MAGIC = (
    b"\0", b"\xff", b"\xc3\x28", b"\xed\xa0\x80", "\u202e".encode(), "\u2028".encode(), b"\r\n",
    b"\n",
    b"\n\n", b"-", b"--", b"-0", b"-1", b"0", b"1e999", b"NaN", b"Infinity", b"1_000", b"9" * 25,
    b"9" * 5000, "\u0663\u0661".encode(), b"null", b"true", b"[]", b"{}", b"[[", b"]", b'"', b"'",
    b"\\", b"\\u0000", b"\\ud800", b"..", b"/", b"../", b"%00", b"%2e%2e", b"@", b":", b"#", b"?",
    b" ", b"\t", b"{" * 3000, b"[" * 3000, b"A" * 300, b"0000-00-00T00:00:00Z",
    b"9999-12-31T23:59:59.999+23:59", b"18446744073709551616", b"file:///etc/passwd", b"=", b"+",
)  # fmt: skip
"""Pieces that have broken parsers before: half characters, wide numbers, deep nests, ways up."""
MOST_BYTES = 300_000
"""Above what any parser takes, so that its limit is met, too."""


class Mutator:
    """An endless row of inputs, made of ``corpus`` by ``seed`` alone."""

    def __init__(self, corpus: Sequence[bytes], tokens: Sequence[bytes], seed: str) -> None:
        self._random = random.Random(seed)
        self._corpus = list(corpus)
        self._pieces = [*MAGIC, *tokens, *tokens]

    def make(self) -> bytes:
        """One input: an honest one, changed from once to many times."""
        draw = self._random
        made = bytearray(draw.choice(self._corpus))
        for _ in range(1 if draw.random() < 0.5 else draw.randint(2, 8)):
            self._change(made)
        return bytes(made[:MOST_BYTES])

    def _change(self, made: bytearray) -> None:
        draw = self._random
        at = int(draw.random() * (len(made) + 1))
        kind = draw.random()
        if kind < 0.30:
            piece = draw.choice(self._pieces)
            made[at : at + (len(piece) if draw.random() < 0.5 else 0)] = piece
        elif kind < 0.50:
            if at < len(made):
                made[at] ^= 1 << int(draw.random() * 8)
        elif kind < 0.62:
            if at < len(made):
                made[at] = int(draw.random() * 256)
        elif kind < 0.74:
            del made[at : at + 1 + int(draw.random() ** 3 * 64)]
        elif kind < 0.85:
            size = 1 + int(draw.random() ** 3 * 64)
            made[at:at] = made[int(draw.random() * (len(made) + 1)) :][:size]
        elif kind < 0.97:
            other = draw.choice(self._corpus)
            start = int(draw.random() * (len(other) + 1))
            made[at:] = other[start:]
        elif kind < 0.995:
            del made[at:]
        else:
            # Rare, since it is slow: so long that a limit must be there.
            made[at:at] = (made[at : at + 40] or b"x") * int(draw.random() * 4000)
