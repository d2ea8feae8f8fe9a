"""The only place that checks a proof of any kind, and says what it proves and by whose word.

A proof holds in itself (its lines lead to its checkpoint) and is believed for a reason that lies
outside of it: a key that is known, a checkpoint that was kept, the log itself. Both are needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ops import archive_place, ledger_place, ledger_trust, proof_trust
from ops.paths import ROOT
from ops.proof_trust import Trust
from ops.terminal import safe
from quantum_ops import streams
from quantum_ops.history import attest, bundle
from quantum_ops.history.bundle import Verdict
from quantum_ops.history.entry import Entry
from quantum_ops.history.errors import ArchiveError, ProofError
from quantum_ops.history.reader import Archive
from quantum_ops.ledger import checkpoint, consistency, merkle, proof
from quantum_ops.ledger.checkpoint import Checkpoint
from quantum_ops.ledger.errors import CheckpointError
from quantum_ops.ledger.folder import Folder
from quantum_ops.ledger.journal import Journal

ARCHIVE, RECORD, CONSISTENCY = "archive", "record", "consistency"
WORD = {ARCHIVE: "entries", RECORD: "records", CONSISTENCY: "records"}


@dataclass(frozen=True)
class Asked:
    """What the operator named: a key (or its file), checkpoints that were kept, an archive."""

    key: str = ""
    key_file: Path = Path()
    origin: str = ""
    kept: Sequence[Checkpoint] = ()
    folder: str = ""
    alone: bool = False

    def trust(self, one: Checkpoint | None) -> Trust | None:
        """The key that must have signed ``one``; None if none is known."""
        if not self.key:
            return proof_trust.known(one)
        return proof_trust.given(
            self.key, self.key_file, self.origin or (one.origin if one else "")
        )


@dataclass
class Answer:
    """What became of it. ``believed`` are the reasons outside of the proof why it is believed."""

    kind: str
    faults: list[str] = field(default_factory=list)
    checkpoint: Checkpoint | None = None
    believed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Verdict)
    told: dict[str, Any] = field(default_factory=dict)
    trust: Trust | None = None

    @property
    def proven(self) -> bool:
        """Whether all of it is proven, by somebody's word that is believed."""
        whole = self.kind != ARCHIVE or self.verdict.whole
        return bool(whole and self.believed and not self.faults)


def check(content: bytes, asked: Asked) -> Answer:
    """Check a proof of any kind.

    Raises CheckpointError if the key of ``asked`` is none, OSError if it cannot be read.
    """
    text = content.decode("utf-8", "replace")
    if text.startswith(proof.HEADER):
        return _of_ledger(RECORD, text, asked)
    if text.startswith(consistency.START):
        return _of_ledger(CONSISTENCY, text, asked)
    answer = Answer(ARCHIVE)
    try:
        found = bundle.parse(content)
    except ProofError as error:
        answer.faults.append(str(error))
        return answer
    answer.trust = asked.trust(_parsed(found.checkpoint))
    answer.verdict = bundle.judge(found, answer.trust.key if answer.trust else None)
    answer.checkpoint = answer.verdict.checkpoint
    answer.faults = answer.verdict.faults
    if answer.checkpoint and not answer.faults:
        _signed(answer)
        _kept(answer, asked.kept)
        if not asked.alone:
            _archive_here(answer, asked)
    return answer


def _of_ledger(kind: str, text: str, asked: Asked) -> Answer:
    answer = Answer(kind)
    try:
        parsed = proof.parse(text) if kind == RECORD else consistency.parse(text)
    except CheckpointError as error:
        answer.faults.append(str(error))
        return answer
    answer.checkpoint = parsed.checkpoint
    answer.trust = asked.trust(parsed.checkpoint)
    try:
        key = answer.trust.key if answer.trust else None
        answer.told = ledger_trust.check_text(text, asked.kept, key)
    except CheckpointError as error:
        answer.faults.append(str(error))
        return answer
    _signed(answer)
    if asked.kept:
        answer.believed.append("the checkpoint given is that of the log it is of")
    if not asked.alone:
        _ledger_here(answer)
    return answer


def _signed(answer: Answer) -> None:
    if answer.trust:
        key = answer.trust.key
        by = f"{key.name}+{key.key_id.hex()}"
        answer.believed.append(f"its checkpoint is signed by {by}, {answer.trust.why}")


def _kept(answer: Answer, kept: Sequence[Checkpoint]) -> None:
    assert answer.checkpoint is not None  # noqa: S101 - who calls has looked
    head = answer.checkpoint.head
    for one in kept:
        if one.head == head and one.origin == answer.checkpoint.origin:
            answer.believed.append("its checkpoint is the one given")
        elif one.head.size == head.size or one.origin != answer.checkpoint.origin:
            answer.faults.append(
                f"checkpoint: the one given, of {one.head.size} entries of {one.origin}, is another"
            )
        else:
            answer.notes.append(
                f"the checkpoint given covers {one.head.size} entries, this one {head.size}: only "
                "the archive itself can compare them (./run archive verify --checkpoint)"
            )


def _archive_here(answer: Answer, asked: Asked) -> None:
    """Compare with the archive that is here, if it is of the same log."""
    assert answer.checkpoint is not None  # noqa: S101 - who calls has looked
    folder = archive_place.find(asked.folder, archive_place.paths())
    if not folder.names():
        if asked.folder:
            answer.notes.append(f"{folder.base}: there is no archive")
        return
    try:
        archive = Archive(folder)
        newest = checkpoint.newest(folder)
        if not asked.folder and (newest is None or newest.origin != answer.checkpoint.origin):
            answer.notes.append(f"the archive in {folder.base} is of another log; not compared")
            return
        fits = attest.starts_with(archive, answer.checkpoint)
    except (ArchiveError, CheckpointError) as error:
        answer.notes.append(f"not compared with the archive: {error}")
        return
    _compared(answer, f"the archive in {folder.base}", fits=fits)


def _ledger_here(answer: Answer) -> None:
    assert answer.checkpoint is not None  # noqa: S101 - who calls has looked
    try:
        folder = Folder.find(ledger_place.environ(), ROOT)
        newest = checkpoint.newest(folder)
    except CheckpointError as error:
        answer.notes.append(f"not compared with the ledger: {error}")
        return
    if newest is None or newest.origin != answer.checkpoint.origin:
        return
    head, frontier = answer.checkpoint.head, merkle.Frontier()
    for line in Journal(folder).lines():
        if frontier.size == head.size:
            break
        frontier.append(merkle.leaf(line))
    _compared(answer, f"the ledger in {folder.base}", fits=frontier.head() == head)


def _compared(answer: Answer, log: str, *, fits: bool) -> None:
    assert answer.checkpoint is not None  # noqa: S101 - who calls has looked
    size, word = answer.checkpoint.head.size, WORD[answer.kind]
    if fits:
        answer.believed.append(f"{log} begins with these {size} {word}")
        return
    answer.faults.append(
        f"checkpoint: {log} does not begin with these {size} {word}: its history was rewritten or "
        "cut, the proof was forged, or it is of another system's log of the same name (--alone)"
    )


def _parsed(note: str) -> Checkpoint | None:
    try:
        return checkpoint.parse(note)
    except CheckpointError:
        return None  # judged, and told, with the rest


def lines(answer: Answer) -> list[str]:
    """The answer for people."""
    return [safe(line, 2000) for line in _lines(answer)]


def _lines(answer: Answer) -> Iterator[str]:
    one = answer.checkpoint
    if answer.faults:
        yield from (f"BAD: {fault}" for fault in answer.faults)
        return
    log = f"the log {one.origin} of {one.head.size} {WORD[answer.kind]}" if one else "no log"
    root = f", root {one.head.root.hex()[:16]}" if one else ""
    holds = "PROVEN" if answer.believed else "FITS TOGETHER"
    if answer.kind == CONSISTENCY:
        yield f"{holds}: {log} starts with the {answer.told['since']} of the checkpoint given{root}"
    elif answer.kind == RECORD:
        record = answer.told
        named = record["id"] or record["type"]
        yield f"{holds}: record {record['seq']} of {log} is {named}{root}"
    elif answer.verdict.entries:
        count = len(answer.verdict.entries)
        noun = "entry" if count == 1 else "entries"
        yield f"{holds}: {count} {noun} of {log}{root}"
        yield from (_row(index, entry) for index, entry in answer.verdict.entries)
    if answer.kind == ARCHIVE and not answer.verdict.entries:
        yield "NOT PROVEN: it holds the proof of no entry"
    yield from answer.believed
    if not answer.believed:
        yield (
            "NOT PROVEN: nothing says whose log this is. Name its public key with --key (the owner "
            "of the log tells it; ./run archive key), or a checkpoint that you kept with --against"
        )
    elif answer.trust is None:
        yield "NOT CHECKED: who signed; give the log's key with --key"
    for index, entry in answer.verdict.later:
        yield f"NOT PROVEN YET: {_row(index, entry).strip()}: newer than the checkpoint"
    for absent in answer.verdict.absent:
        name = f"{streams.short(absent.stream)} {absent.id}"
        yield f"NOT PROVEN: {name}: was not in the archive when this was made"
    yield from (f"note: {note}" for note in answer.notes)


def _row(index: int, entry: Entry) -> str:
    return f"  entry {index + 1}: {streams.short(entry.stream)} {entry.id}"


def meaning(line: str) -> str:
    """What a line means, for its colour."""
    word = line.partition(":")[0]
    known = {"BAD": "bad", "PROVEN": "good", "FITS TOGETHER": "warn", "note": "dim"}
    return known.get(word, "warn" if word.startswith("NOT ") else "")


def as_object(answer: Answer) -> dict[str, Any]:
    """The answer for programs."""
    one = answer.checkpoint

    def shown(found: list[tuple[int, Entry]]) -> list[dict[str, Any]]:
        return [{"stream": e.stream, "id": e.id, "index": index, "fields": e.fields,
                 "base64": list(e.base64)} for index, e in found]  # fmt: skip

    key = answer.trust.key if answer.trust else None
    return {
        "ok": answer.proven,
        "proof": answer.kind,
        "origin": one.origin if one else None,
        "size": one.head.size if one else 0,
        "root_sha256": one.head.root.hex() if one else None,
        "signed_by": key.text() if key and not answer.faults else None,
        "believed": answer.believed,
        "faults": answer.faults,
        "entries": shown(answer.verdict.entries),
        "later": shown(answer.verdict.later),
        "absent": [{"stream": a.stream, "id": a.id} for a in answer.verdict.absent],
        "record": {name: answer.told[name] for name in ("seq", "id", "type", "data", "since")
                   if name in answer.told} or None,
        "notes": answer.notes,
    }  # fmt: skip
