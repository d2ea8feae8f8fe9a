"""What the journal's tree was, signed: C2SP tlog-checkpoint and signed-note; the only place of it.

Whoever keeps a checkpoint elsewhere sees any later change of what it covers.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from quantum_ops.ledger import durable, ed25519, merkle
from quantum_ops.ledger.errors import CheckpointError

ORIGIN = "quantum-ops/ledger"
"""The log's name if LEDGER_ORIGIN gives no other. Also the name of the key, as C2SP asks."""

_ED25519 = b"\x01"
_KEY_ID_BYTES = 4
_SIGNATURE = re.compile("\u2014 ([^ +]+) ([A-Za-z0-9+/]+={0,2})")
SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
"""A size or an index: one text for each number, and none that takes long to read."""
_NAME = re.compile(r"[^\s+]+")


class Folder(Protocol):
    """Where a log's checkpoints lie: the newest one, and all so far, oldest first."""

    @property
    def checkpoint(self) -> Path:
        """The newest checkpoint."""
        ...

    @property
    def checkpoints(self) -> Path:
        """All checkpoints so far, oldest first."""
        ...


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree head with the log's name. ``signatures`` are (key name, key id + signature)."""

    origin: str
    head: merkle.Head
    signatures: tuple[tuple[str, bytes], ...] = ()

    def body(self) -> bytes:
        """What is signed."""
        root = base64.b64encode(self.head.root).decode()
        return f"{self.origin}\n{self.head.size}\n{root}\n".encode()

    def text(self) -> str:
        """The signed note; without a signature, the body and an empty line."""
        lines = [
            f"\u2014 {name} {base64.b64encode(found).decode()}\n" for name, found in self.signatures
        ]
        return self.body().decode() + "\n" + "".join(lines)


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key by its name."""

    name: str
    public: bytes

    @property
    def key_id(self) -> bytes:
        """The first bytes of a signature by this key."""
        known = self.name.encode() + b"\n" + _ED25519 + self.public
        return hashlib.sha256(known).digest()[:_KEY_ID_BYTES]

    def text(self) -> str:
        """The key as one line (a C2SP vkey)."""
        key = base64.b64encode(_ED25519 + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{key}"

    @classmethod
    def parse(cls, text: str) -> Verifier:
        """The key of such a line.

        Raises:
            CheckpointError: if it is none.
        """
        name, _, rest = _written(text).strip().partition("+")
        key_id, _, key = rest.partition("+")
        try:
            raw = unbase64(key)
        except CheckpointError:
            raw = b""
        found = cls(name, raw[1:])
        if raw[:1] != _ED25519 or len(raw) != 1 + ed25519.KEY_BYTES or found.key_id.hex() != key_id:
            raise CheckpointError(f"not a key such as name+1a2b3c4d+AZ...: {text.strip()!r:.120}")
        return found

    def signed(self, checkpoint: Checkpoint) -> bool:
        """Whether there is a signature under its name and key id, right or wrong."""
        return any(
            name == self.name and one[:_KEY_ID_BYTES] == self.key_id
            for name, one in checkpoint.signatures
        )

    def verify(self, checkpoint: Checkpoint) -> None:
        """Check that this key signed.

        Raises:
            CheckpointError: if it did not, or something else than this.
        """
        found = [
            one[_KEY_ID_BYTES:]
            for name, one in checkpoint.signatures
            if name == self.name and one[:_KEY_ID_BYTES] == self.key_id
        ]
        if not found:
            raise CheckpointError(
                f"the checkpoint has no signature of {self.name}+{self.key_id.hex()}"
            )
        if not all(ed25519.verify(self.public, checkpoint.body(), one) for one in found):
            raise CheckpointError(
                f"the signature of {self.name} does not fit: size, root or origin was changed"
            )


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key (a PEM file) that signs under ``name``."""

    name: str
    key: Path

    def verifier(self) -> Verifier:
        """The public half.

        Raises:
            CheckpointError: if the file is no Ed25519 key.
        """
        return Verifier(self.name, ed25519.public(self.key))

    def sign(self, checkpoint: Checkpoint) -> Checkpoint:
        """``checkpoint`` with one more signature.

        Raises:
            CheckpointError: if the file is no Ed25519 key.
        """
        signature = ed25519.sign(self.key, checkpoint.body())
        one = (self.name, self.verifier().key_id + signature)
        return Checkpoint(checkpoint.origin, checkpoint.head, (*checkpoint.signatures, one))


def parse(text: str) -> Checkpoint:
    """The checkpoint of a note.

    Raises:
        CheckpointError: if it is none; it says why.
    """
    body, empty, signed = _written(text).partition("\n\n")
    lines = body.split("\n")
    if not empty or len(lines) < 3 or not lines[0] or "" in lines:  # noqa: PLR2004 - the three
        raise CheckpointError(
            "a checkpoint is name, size and root on a line each, then an empty line"
        )
    if len(lines) > 3:  # noqa: PLR2004 - as above
        raise CheckpointError(f"a checkpoint of ours has no further line: {lines[3]!r:.80}")
    if not SIZE.fullmatch(lines[1]):
        raise CheckpointError(f"the size {lines[1]!r:.40} is no whole number")
    signatures = []
    for line in signed.split("\n")[:-1]:
        found = _SIGNATURE.fullmatch(line)
        if not found:
            raise CheckpointError(f"not a line of a signature: {line!r:.80}")
        signatures.append((found[1], unbase64(found[2])))
    if signed and not signed.endswith("\n"):
        raise CheckpointError("the last line is cut")
    root = unbase64(lines[2])
    if len(root) != merkle.HASH_BYTES:
        raise CheckpointError(f"the root {lines[2]!r:.80} is no SHA-256 in base64")
    return Checkpoint(lines[0], merkle.Head(int(lines[1]), root), tuple(signatures))


def newest(folder: Folder) -> Checkpoint | None:
    """The newest checkpoint; None if there is none.

    Raises:
        CheckpointError: if the file is damaged.
    """
    try:
        text = folder.checkpoint.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except ValueError:
        raise CheckpointError(f"{folder.checkpoint}: not UTF-8") from None
    try:
        return parse(text)
    except CheckpointError as error:
        raise CheckpointError(f"{folder.checkpoint}: {error}") from None


def history(folder: Folder) -> list[Checkpoint]:
    """All checkpoints so far, oldest first. One that is damaged or cut is left out."""
    return [one for one in _history(folder) if one]


def unread(folder: Folder) -> int:
    """How many of all checkpoints are damaged; the last may just be written, and is not counted."""
    return _history(folder)[:-1].count(None)


def _history(folder: Folder) -> list[Checkpoint | None]:
    try:
        text = folder.checkpoints.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    found: list[Checkpoint | None] = []
    for note in split(text):
        try:
            found.append(parse(note))
        except CheckpointError:
            found.append(None)
    return found


def split(text: str) -> list[str]:
    """The notes of a text that holds several after each other, as ``checkpoints.log`` does."""
    return [one for one in re.split(r"(?<=\n)(?=[^\n\u2014][^\n]*\n[0-9]+\n)", text) if one]


def kept(path: Path) -> list[Checkpoint]:
    """The checkpoints of a file that somebody kept: one, or several after each other.

    Raises:
        CheckpointError: if one of them is none, or there is none.
        OSError: if the file cannot be read.
    """
    try:
        found = [parse(one) for one in split(path.read_text(encoding="utf-8"))]
    except ValueError:
        raise CheckpointError(f"{path}: not UTF-8") from None
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    if not found:
        raise CheckpointError(f"{path}: is empty; name a copy of the file 'checkpoint'")
    return found


def publish(folder: Folder, head: merkle.Head, origin: str, signer: Signer | None) -> Checkpoint:
    """Make ``head`` the newest checkpoint, signed if there is a key.

    The lines it covers MUST be durable before. Two checkpoints that contradict each other MUST NOT
    both be signed: call ``guard`` with the tree before anything is appended.

    Raises:
        CheckpointError: if the key is none.
        OSError: if it cannot be written.
    """
    made = Checkpoint(origin, head)
    if signer:
        made = signer.sign(made)
    text = made.text().encode()
    number = durable.opened(folder.checkpoints, os.O_WRONLY | os.O_APPEND)
    try:
        durable.write_all(number, text)
        os.fdatasync(number)
    finally:
        os.close(number)
    durable.write(folder.checkpoint, text)
    return made


def guard(folder: Folder, head: merkle.Head) -> None:
    """Check that the tree is not behind its newest checkpoint, nor another one of the same size.

    Raises:
        CheckpointError: if it is: lines were cut off or rewritten, and to append would hide it.
    """
    known = newest(folder)
    if known is None:
        # Whoever removed it may have cut the journal, too.
        known = max(history(folder), key=lambda one: one.head.size, default=None)
    if known is None or known.head.size < head.size:
        return
    if known.head != head:
        raise CheckpointError(
            f"the journal has {head.size} lines, root {head.root.hex()[:16]}; its checkpoint says "
            f"{known.head.size}, root {known.head.root.hex()[:16]}: lines were cut off or "
            f"rewritten. Nothing is appended. See: ./run ledger verify"
        )


def check_name(name: str) -> str:
    """``name``, if a log or key may have it.

    Raises:
        CheckpointError: if not: signed notes allow neither spaces nor ``+`` in it.
    """
    if not _NAME.fullmatch(name):
        raise CheckpointError(
            f"LEDGER_ORIGIN: {name!r} must have neither spaces nor '+', nor be empty"
        )
    return name


def _written(text: str) -> str:
    """``text``, if it can be written: half a character is what other bytes than UTF-8 became."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise CheckpointError("not UTF-8") from None
    return text


def unbase64(text: str) -> bytes:
    """The bytes of a text in base64.

    Raises:
        CheckpointError: if it is none, or not the one text of these bytes (its last character has
            bits that say nothing; two texts of one proof would be two proofs).
    """
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if base64.b64encode(found).decode() != text:
        raise CheckpointError(f"not base64: {text!r:.80}")
    return found
