"""A file that proves that the log only grew since an older checkpoint; the only place of it.

Its form is that of a request to a C2SP witness (tlog-witness, add-checkpoint): the old size, the
hashes, the newer checkpoint. Whoever kept the older one needs neither the journal nor us.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass

from quantum_ops.ledger import checkpoint, merkle
from quantum_ops.ledger.checkpoint import Checkpoint, Verifier
from quantum_ops.ledger.errors import CheckpointError

START = "old "
MOST_HASHES = 63
"""As the witness protocol has it; a tree of 2^62 records needs no more."""


@dataclass(frozen=True, slots=True)
class Consistency:
    """The parts of such a file; ``old_size`` is how many records the older checkpoint covers."""

    old_size: int
    hashes: tuple[bytes, ...]
    checkpoint: Checkpoint

    def text(self) -> str:
        """The file."""
        shown = [base64.b64encode(one).decode() for one in self.hashes]
        return "\n".join([f"{START}{self.old_size}", *shown, "", self.checkpoint.text()])

    def check(self, old: Checkpoint, verifier: Verifier | None = None) -> None:
        """Check that the log of ``checkpoint`` starts with the very log of ``old``.

        Raises:
            CheckpointError: if it does not, or the key did not sign both.
        """
        if verifier:
            verifier.verify(old)
            verifier.verify(self.checkpoint)
        new = self.checkpoint
        if old.origin != new.origin:
            raise CheckpointError(f"two logs: {old.origin!r} is not {new.origin!r}")
        if old.head.size != self.old_size:
            raise CheckpointError(
                f"the proof starts from {self.old_size} records, the checkpoint given has "
                f"{old.head.size}; give the one that it was made for"
            )
        if not merkle.verify_consistency(old.head, new.head, self.hashes):
            raise CheckpointError(
                f"the log of {new.head.size} records does not start with the {old.head.size} of "
                "the older checkpoint: its history was rewritten, or the proof was changed"
            )


def make(lines: Iterable[bytes], old: Checkpoint, new: Checkpoint) -> Consistency:
    """The proof that ``new`` only adds to ``old``; reads the journal's lines once.

    Raises:
        CheckpointError: if it does not, or the journal is not that of ``new``.
    """
    if old.head.size > new.head.size:
        raise CheckpointError(
            f"the checkpoint given covers {old.head.size} records, the newest one "
            f"{new.head.size}: records are missing; run: ./run ledger verify"
        )
    leaves: list[bytes] = []
    for line in lines:
        if len(leaves) == new.head.size:
            break
        leaves.append(merkle.leaf(line))
    tree = merkle.Tree(leaves)
    if merkle.Head(tree.size, tree.root()) != new.head:
        raise CheckpointError(
            "the journal is not what the checkpoint says; run: ./run ledger verify"
        )
    if tree.root(old.head.size) != old.head.root:
        raise CheckpointError(
            f"the first {old.head.size} records are not those of the checkpoint given: the history "
            "was rewritten, or it is of another log; run: ./run ledger verify --against FILE"
        )
    hashes = tree.consistency(old.head.size, new.head.size)
    return Consistency(old.head.size, tuple(hashes), new)


def parse(text: str) -> Consistency:
    """The proof of a file.

    Raises:
        CheckpointError: if it is none.
    """
    top, _, note = text.partition("\n\n")
    first, *rest = top.split("\n")
    size = first.removeprefix(START)
    if size == first or not checkpoint.SIZE.fullmatch(size):
        raise CheckpointError(f"not a proof of consistency: the first line is no '{START}SIZE'")
    hashes = tuple(map(checkpoint.unbase64, rest))
    if len(hashes) > MOST_HASHES or any(len(one) != merkle.HASH_BYTES for one in hashes):
        raise CheckpointError("not a proof of consistency: one of its hashes is no SHA-256")
    return Consistency(int(size), hashes, checkpoint.parse(note))
