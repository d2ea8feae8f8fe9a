"""A file that proves one record, in the C2SP format tlog-proof; the only place of it.

It holds the record's line (as its ``extra`` data), the way from there to the root, and the signed
checkpoint. Whoever has it and the log's public key needs nothing else.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from quantum_ops.ledger import canonical, checkpoint, merkle
from quantum_ops.ledger.checkpoint import Checkpoint, Verifier
from quantum_ops.ledger.errors import CheckpointError

HEADER = "c2sp.org/tlog-proof@v1"


@dataclass(frozen=True)
class Proof:
    """The parts of such a file. ``index`` counts from 0: record 1 is leaf 0."""

    line: bytes
    index: int
    hashes: tuple[bytes, ...]
    checkpoint: Checkpoint

    def text(self) -> str:
        """The file."""
        head = [HEADER, f"extra {_shown(self.line)}", f"index {self.index}"]
        lines = [*head, *map(_shown, self.hashes), "", self.checkpoint.text()]
        return "\n".join(lines)

    def check(self, verifier: Verifier | None = None) -> dict[str, Any]:
        """The record that is proven.

        Without ``verifier`` only the way to the checkpoint's root is checked, not who signed it.

        Raises:
            CheckpointError: if something of it does not hold; it says what.
        """
        if verifier:
            verifier.verify(self.checkpoint)
        head = self.checkpoint.head
        if not merkle.verify_inclusion(merkle.leaf(self.line), self.index, head, self.hashes):
            raise CheckpointError(
                f"the record is not number {self.index + 1} of the log of {head.size} records "
                f"with root {head.root.hex()[:16]}"
            )
        try:
            record = canonical.load(self.line)
        except ValueError as error:
            raise CheckpointError(f"the record is none: {error}") from None
        if record.get("seq") != self.index + 1:
            raise CheckpointError(
                f"the record says number {record.get('seq')}, not {self.index + 1}"
            )
        return record


def make(lines: Iterable[bytes], seq: int, of: Checkpoint) -> Proof:
    """The proof of record ``seq`` in the tree of checkpoint ``of``; reads the journal's lines once.

    Raises:
        CheckpointError: if the checkpoint does not cover it, or is not of these lines.
    """
    if not 1 <= seq <= of.head.size:
        raise CheckpointError(f"record {seq} is not in the checkpoint of {of.head.size} records")
    wanted = b""
    leaves = []
    for number, line in enumerate(lines, 1):
        if number > of.head.size:
            break
        leaves.append(merkle.leaf(line))
        if number == seq:
            wanted = line
    tree = merkle.Tree(leaves)
    if merkle.Head(tree.size, tree.root()) != of.head:
        raise CheckpointError(
            "the journal is not what the checkpoint says; run: ./run ledger verify"
        )
    return Proof(wanted, seq - 1, tuple(tree.inclusion(seq - 1, tree.size)), of)


def parse(text: str) -> Proof:
    """The proof of a file.

    Raises:
        CheckpointError: if it is none.
    """
    top, _, note = text.partition("\n\n")
    lines = top.split("\n")
    if len(lines) < 3 or lines[0] != HEADER:  # noqa: PLR2004 - header, extra, index
        raise CheckpointError(f"not a proof: the first line is not {HEADER}")
    extra, index = lines[1].removeprefix("extra "), lines[2].removeprefix("index ")
    if lines[1] == extra or lines[2] == index or not checkpoint.SIZE.fullmatch(index):
        raise CheckpointError("not a proof of a record: it needs a line 'extra' and a line 'index'")
    hashes = tuple(map(checkpoint.unbase64, lines[3:]))
    if any(len(one) != merkle.HASH_BYTES for one in hashes):
        raise CheckpointError("not a proof: one of its hashes is no SHA-256")
    return Proof(checkpoint.unbase64(extra), int(index), hashes, checkpoint.parse(note))


def _shown(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
