"""A file that proves archived entries without the archive: its form, and what it proves; only here.

It holds each entry's line, the line's number and its way to the root of the tree, and the signed
checkpoint that they share. Who has it and the log's public key needs nothing else. What it could
not prove stands in it, too: nothing is left out in silence.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from typing import Annotated, NoReturn

import msgspec

from quantum_ops.history import entry, segment
from quantum_ops.history.entry import Entry
from quantum_ops.history.errors import ProofError
from quantum_ops.ledger import canonical, checkpoint, merkle
from quantum_ops.ledger.checkpoint import Checkpoint, Verifier
from quantum_ops.ledger.errors import CheckpointError

FORMAT = "quantum-ops/archive-proof/1"
Index = Annotated[int, msgspec.Meta(ge=0, le=2**62)]


class Proven(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An entry under the checkpoint. ``index`` counts from 0; ``hashes`` (base64) lead to it."""

    line: str
    index: Index
    hashes: list[str]


class Later(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An archived entry that no checkpoint covers yet: it may still be changed unnoticed."""

    line: str
    index: Index


class Absent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was asked for and was not in the archive."""

    stream: str
    id: str


class Bundle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file. ``checkpoint`` is a signed note, empty while there is none.

    ``key`` (a C2SP vkey, or empty) only says whose signature to look for: who forges the rest can
    write his own key there. ``sha256`` finds what was garbled on the way, and proves nothing more.
    """

    format: str
    checkpoint: str
    key: str
    entries: list[Proven]
    later: list[Later]
    absent: list[Absent]
    sha256: str = ""

    def sealed(self) -> Bundle:
        """With its own ``sha256``."""
        return msgspec.structs.replace(self, sha256=self.digest())

    def digest(self) -> str:
        """The SHA-256 of everything else in it, in hex."""
        bare = msgspec.structs.replace(self, sha256="")
        return hashlib.sha256(msgspec.json.encode(bare, order="deterministic")).hexdigest()

    def text(self) -> str:
        """The file's text."""
        return msgspec.json.format(msgspec.json.encode(self)).decode() + "\n"


@dataclass(frozen=True)
class Verdict:
    """What a bundle proves. ``faults`` name part and reason; with any, it proves nothing.

    ``signed`` says whether the key that was given signed the checkpoint: without, all this could be
    of somebody's own making. ``later`` and ``absent`` are not proven by anything.
    """

    checkpoint: Checkpoint | None = None
    signed: bool = False
    entries: list[tuple[int, Entry]] = field(default_factory=list)
    later: list[tuple[int, Entry]] = field(default_factory=list)
    absent: list[Absent] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether every entry that was asked for is proven."""
        return not (self.faults or self.later or self.absent) and bool(self.entries)


def parse(text: bytes | str) -> Bundle:
    """The bundle of a file's text. Raises :class:`ProofError` if it is none; it says where."""
    try:
        # Never bytes: json would guess at UTF-16.
        plain = text.decode() if isinstance(text, bytes) else text
        loose = json.loads(plain, object_pairs_hook=canonical.once, parse_constant=_no_number)
        found = msgspec.convert(loose, Bundle)
        found.digest()  # half a character (a lone surrogate) is no text
    except RecursionError:
        raise ProofError("not a proof: it is nested too deep") from None
    except ValueError as error:
        raise ProofError(f"not a proof of archived entries: {error}") from None
    if found.format != FORMAT:
        raise ProofError(f"format: {found.format[:80]!r} is none that is known; it is {FORMAT}")
    return found


def judge(bundle: Bundle, verifier: Verifier | None = None) -> Verdict:
    """What ``bundle`` proves, by itself and by ``verifier``, the log's public key."""
    faults: list[str] = []
    known = _checkpoint(bundle, verifier, faults)
    verdict = Verdict(known, bool(known and verifier and not faults), faults=faults)
    for number, one in enumerate(bundle.entries):
        shown = f"entries[{number}]"
        found = _entry(shown, one.line, faults)
        if found is None:
            continue
        shown = f"{shown} ({found.stream} {found.id})"
        verdict.entries.append((one.index, found))
        if known:
            faults += _way(shown, one, known)
    for number, late in enumerate(bundle.later):
        shown = f"later[{number}]"
        found = _entry(shown, late.line, faults)
        if found is not None:
            verdict.later.append((late.index, found))
        if known and late.index < known.head.size:
            faults.append(f"{shown}: the checkpoint covers it, so its proof was taken out")
    verdict.absent.extend(bundle.absent)
    for name, numbers in (("entries", verdict.entries), ("later", verdict.later)):
        order = [index for index, _ in numbers]
        if order != sorted(set(order)):
            faults.append(f"{name}: they are not in the log's order, each once")
    # Last: whatever has a name of its own was named above.
    if not faults and bundle.sha256 != bundle.digest():
        faults.append("sha256: is not that of the rest: something was changed on the way")
    return verdict


def _checkpoint(bundle: Bundle, verifier: Verifier | None, faults: list[str]) -> Checkpoint | None:
    """Its checkpoint, checked against the key that was given, and the one that it names itself."""
    if not bundle.checkpoint:
        if bundle.entries:
            faults.append("checkpoint: is missing, so nothing leads anywhere")
        return None
    try:
        known = checkpoint.parse(bundle.checkpoint)
    except CheckpointError as error:
        faults.append(f"checkpoint: {error}")
        return None
    try:
        if bundle.key:
            named = Verifier.parse(bundle.key)
            if named.text() != bundle.key:
                raise CheckpointError("not in the form of a key")  # noqa: TRY301 - told below
            named.verify(known)
    except CheckpointError as error:
        faults.append(f"key: {error}")
    if verifier:
        try:
            verifier.verify(known)
            if known.origin != verifier.name:
                why = f"it is of the log {known.origin!r}, not of {verifier.name!r}"
                raise CheckpointError(why)  # noqa: TRY301 - told below
        except CheckpointError as error:
            faults.append(f"checkpoint: {error}")
    return known


def _entry(shown: str, line: str, faults: list[str]) -> Entry | None:
    raw = line.encode()
    why = segment.wrong(raw)
    if why:
        faults.append(f"{shown}.line: {why}")
        return None
    return entry.decode(raw)


def _way(shown: str, one: Proven, known: Checkpoint) -> list[str]:
    """What is wrong with the way from the line to the checkpoint's root."""
    hashes = []
    for number, text in enumerate(one.hashes):
        try:
            hashes.append(checkpoint.unbase64(text))
        except CheckpointError as error:
            return [f"{shown}.hashes[{number}]: {error}"]
        if len(hashes[-1]) != merkle.HASH_BYTES:
            return [f"{shown}.hashes[{number}]: no SHA-256"]
    leaf = merkle.leaf(one.line.encode())
    if merkle.verify_inclusion(leaf, one.index, known.head, hashes):
        return []
    if one.index >= known.head.size:
        return [f"{shown}.index: {one.index} is not below the {known.head.size} of the checkpoint"]
    why = (
        f"is not entry {one.index + 1} of the log of {known.head.size} entries with root "
        f"{known.head.root.hex()[:16]}: its line, index or hashes were changed, or the root was"
    )
    return [f"{shown}: {why}"]


def shown(raw: bytes) -> str:
    """A hash as it stands in a bundle."""
    return base64.b64encode(raw).decode()


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")
