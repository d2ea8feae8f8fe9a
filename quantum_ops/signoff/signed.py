"""The only place of signed deploy events: what is signed, the sequence, and what is believed.

A producer numbers its events from 1 and signs each with a key of its own. The number is the event's
id, ``PRODUCER/NUMBER``, so the journal, which knows every source that it recorded, knows the
sequence, too: there is no other state to lose. What is signed is what the event means, behind
:data:`DOMAIN`; names that no reader knows take no part in it.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from quantum_ops import codec
from quantum_ops.errors import ConfigurationError, QuantumError
from quantum_ops.events import DeployCompleted
from quantum_ops.ledger import ed25519
from quantum_ops.ledger.errors import CheckpointError

DOMAIN = b"quantum-deploy/1\0"
"""Stands before the signed bytes, so that no signature of anything else passes for a deploy's."""
UNSIGNED = "unsigned"
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
"""What a producer may be called."""
MOST_NUMBER = 2**53 - 1


class ForgedError(QuantumError):
    """Somebody speaks in a trusted producer's name who is not it. Nothing of it is recorded."""


class UnsignedError(QuantumError):
    """Only signed events are taken here, and this one is not, or by nobody who is known."""


@dataclass(frozen=True)
class Trusted:
    """The public keys of producers, by name, and whether anybody else may tell of a deploy."""

    keys: Mapping[str, bytes]
    required: bool = False

    @classmethod
    def find(cls, folder: str, *, required: bool) -> Trusted:
        """The keys in ``folder``: ``NAME.pub``, a PEM each; none without a folder.

        Raises :class:`ConfigurationError` for a folder or a key that is none.
        """
        keys: dict[str, bytes] = {}
        if folder:
            problem = f"LEDGER_PRODUCERS={folder}"
            try:
                paths = sorted(Path(folder).expanduser().iterdir())
                for path in paths:
                    if path.suffix == ".pub":
                        name = path.stem
                        if not NAME.fullmatch(name):
                            raise ConfigurationError(
                                f"{problem}: {path.name}: a producer is called {NAME.pattern}"
                            )
                        keys[name] = ed25519.from_pem(path.read_text("ascii", "replace"))
            except OSError as error:
                raise ConfigurationError(f"{problem}: {error.strerror or error}") from None
            except CheckpointError as error:
                raise ConfigurationError(f"{problem}: {path.name}: {error}") from None
        if required and not keys:
            raise ConfigurationError(
                "LEDGER_REQUIRE_SIGNED=true, but LEDGER_PRODUCERS names no folder with a NAME.pub "
                "in it: nothing could ever be recorded; put the producers' public keys there"
            )
        return cls(keys, required)

    def judge(self, event: DeployCompleted) -> str:
        """Whose ``event`` is: ``NAME/NUMBER``, ``unsigned``, or empty where nobody is trusted.

        Raises :class:`ForgedError` for a wrong signature under a trusted name, and for a trusted
        name without one; :class:`UnsignedError` where a signature is required.
        """
        claimed = event.event_id.partition("/")[0]
        name = event.producer if event.producer is not None else claimed
        key = self.keys.get(name, self.keys.get(claimed))
        if key is not None:
            problem = _problem(event, key)
            if problem:
                raise ForgedError(f"{problem}; it claims to be of the producer {name[:40]!r}")
            return event.event_id
        if self.required:
            why = f"the producer {name[:40]!r} is not trusted" if event.signature else "it has none"
            raise UnsignedError(
                f"signature: {why}, and only signed deploys are recorded "
                "(LEDGER_REQUIRE_SIGNED); send it with: ./run publish deploy --key FILE"
            )
        return UNSIGNED if self.keys else ""


def content(event: DeployCompleted) -> bytes:
    """The bytes that are signed: canonical JSON of all fields that say something."""
    bare = msgspec.structs.replace(event, signature=None)
    names, values = codec.split(bare)
    plain = dict(zip(codec.split(_EMPTY)[0], codec.split(_EMPTY)[1], strict=True))
    told = {
        name.decode(): value.decode()
        for name, value in zip(names, values, strict=True)
        if plain.get(name) != value or name in _REQUIRED
    }
    told["schema"] = DeployCompleted.schema
    return json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def sign(event: DeployCompleted, key: Path, producer: str, number: int) -> DeployCompleted:
    """``event`` as number ``number`` of ``producer``. Raises ``CheckpointError`` for a bad key."""
    named = msgspec.structs.replace(
        event, producer=producer, seq=number, event_id=f"{producer}/{number}", signature=None
    )
    signature = ed25519.sign(key, DOMAIN + content(named))
    return msgspec.structs.replace(named, signature=base64.b64encode(signature).decode())


def producer_of(key: Path) -> str:
    """The producer whose key lies in the file ``key``: its name up to the first dot.

    Raises ``ValueError`` for a name that no producer may have.
    """
    name = key.name.partition(".")[0]
    if not NAME.fullmatch(name):
        raise ValueError(f"{key}: the file is called as its producer, {NAME.pattern}, and .pem")
    return name


def check_key(key: Path) -> None:
    """Whether ``key`` can sign, before a number is used up.

    Raises ``OSError`` if it cannot be read, ``CheckpointError`` if it holds no private key, and
    ``ValueError`` if others may read it.
    """
    mode = key.stat().st_mode & 0o777
    ed25519.public(key)
    if mode & 0o077:
        raise ValueError(f"{key}: others may read it (mode {mode:04o}); chmod 600 {key}")


def next_number(key: Path) -> int:
    """The next number of the producer of ``key``, never given again, from the file ``KEY.seq``.

    It is durable before it is given: a kill here leaves a gap, which is told, and never gives two
    events one number. Raises ``OSError``, and ``ValueError`` for a file that holds no number.
    """
    path = key.with_name(f"{key.name}.seq")
    number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(number, fcntl.LOCK_EX)
        text = os.pread(number, 64, 0).decode("ascii", "replace").strip()
        if text and not re.fullmatch(r"[0-9]{1,16}", text):
            raise ValueError(f"{path}: holds no number; write the last one that was used into it")
        made = int(text or "0") + 1
        # Of one fixed length: a torn write could otherwise leave a shorter, older number.
        os.pwrite(number, b"%016d\n" % made, 0)
        os.fdatasync(number)
    finally:
        os.close(number)
    return made


def before(event: DeployCompleted) -> str:
    """The event id of the one that must have come before this signed one; empty for the first."""
    return f"{event.producer}/{event.seq - 1}" if event.seq is not None and event.seq > 1 else ""


def _problem(event: DeployCompleted, key: bytes) -> str:
    if not event.signature:
        return "signature: is missing"
    if event.seq is None or not 1 <= event.seq <= MOST_NUMBER:
        return "seq: is no number from 1 on"
    if event.event_id != f"{event.producer}/{event.seq}":
        return "event_id: is not PRODUCER/SEQ"
    raw = b""
    with contextlib.suppress(binascii.Error, ValueError):
        raw = base64.b64decode(event.signature, validate=True)
    # The last characters have bits to spare: only one spelling of a signature counts.
    if base64.b64encode(raw).decode() != event.signature or not ed25519.verify(
        key, DOMAIN + content(event), raw
    ):
        return "signature: is not that of this event"
    return ""


_REQUIRED = {b"operation", b"objective", b"risk_class", b"blast_radius", b"changes_summary"}
_EMPTY: Any = DeployCompleted(
    operation="-", objective="-", risk_class="READ_ONLY", blast_radius="-", changes_summary="-"
)
