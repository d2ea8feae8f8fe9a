"""What a look through a log found, and which checkpoints it is held to; the only place of both.

The ledger and the archive are logs of one kind: lines, a tree over them, checkpoints.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from quantum_ops.ledger import checkpoint, merkle
from quantum_ops.ledger.checkpoint import Checkpoint, Folder, Verifier
from quantum_ops.ledger.errors import CheckpointError


@dataclass(frozen=True, order=True)
class Fault:
    """What is wrong. ``at`` counts the lines of the log, ``number`` those of ``segment``."""

    at: int
    segment: str
    number: int
    why: str

    def __str__(self) -> str:
        if not self.segment:
            return self.why
        return f"{self.segment}{f' line {self.number}' if self.number else ''}: {self.why}"


@dataclass
class Report:
    """What was found. ``faults`` are in the order of the log; without any, all of it holds.

    ``proven`` is how many lines the newest checkpoint covers: what was appended after it may still
    be changed without being noticed. ``signed`` says whether a key was given and had signed it.
    """

    lines: int = 0
    head: merkle.Head = merkle.NONE
    proven: int = 0
    signed: bool = False
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    segments: int = 0

    @property
    def ok(self) -> bool:
        """Whether the log is what was written."""
        return not self.faults


@dataclass(frozen=True)
class Held:
    """The checkpoints that a log is held to: its own (``known``), and those of elsewhere.

    ``faults`` is what is wrong with them by themselves.
    """

    known: Sequence[Checkpoint]
    trusted: Sequence[Checkpoint]
    faults: Sequence[Fault]
    keyed: bool

    @property
    def every(self) -> list[Checkpoint]:
        """All of them."""
        return [*self.known, *self.trusted]

    def report(self, head: merkle.Head, segments: int = 0) -> Report:
        """The report of a log that has come to ``head``, without what its lines tell."""
        proven = max((one.head.size for one in self.every), default=0)
        signed = bool(self.keyed and self.known and not self.faults)
        made = Report(head.size, head, proven, signed, segments=segments)
        if not proven and head.size:
            made.notes.append("there is no checkpoint: a rewritten history would not be noticed")
        return made


def held_to(
    folder: Folder,
    trusted: Sequence[Checkpoint] = (),
    verifier: Verifier | None = None,
    word: str = "records",
) -> Held:
    """The checkpoints of ``folder`` and ``trusted``, looked at by themselves.

    With ``verifier`` the newest one and each trusted one must be signed by that key; of older ones,
    those that say so. ``word`` is what the log's lines are called.
    """
    faults = []
    newest = None
    try:
        newest = checkpoint.newest(folder)
    except CheckpointError as error:
        faults.append(Fault(0, "", 0, str(error)))
    history = checkpoint.history(folder)
    if verifier:
        faults += _unsigned(verifier, newest, trusted, history, word)
    known = [*history, *([newest] if newest else [])]
    return Held(known, trusted, faults, keyed=verifier is not None)


def _unsigned(
    verifier: Verifier,
    newest: Checkpoint | None,
    trusted: Sequence[Checkpoint],
    history: Sequence[Checkpoint],
    word: str,
) -> Iterator[Fault]:
    """What the key did not sign. Of older ones, only what says that it did: keys come and go."""
    must = [("the newest checkpoint", newest), *(("the one given", one) for one in trusted)]
    may = [
        (f"checkpoints.log, the one of {one.head.size} {word}", one)
        for one in history
        if one != newest and verifier.signed(one)
    ]
    for name, one in (*must, *may):
        try:
            if one:
                verifier.verify(one)
        except CheckpointError as error:
            yield Fault(0, "", 0, f"{name}: {error}")
    if not newest:
        yield Fault(0, "", 0, "there is no checkpoint that the key could have signed")
