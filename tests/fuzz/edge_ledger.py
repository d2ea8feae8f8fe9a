"""The parsers that read the ledger's files and the proofs that travel: anybody may hand them in."""

from __future__ import annotations

import contextlib
import functools
import tempfile
from pathlib import Path
from typing import cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from quantum_ops import codec
from quantum_ops.errors import DecodeError
from quantum_ops.events import DeployCompleted
from quantum_ops.history import attest, bundle
from quantum_ops.history.errors import ProofError
from quantum_ops.history.reader import Archive
from quantum_ops.ledger import (
    canonical,
    checkpoint,
    consistency,
    ed25519,
    entry,
    proof,
    reader,
    spool,
)
from quantum_ops.ledger.checkpoint import Signer, Verifier
from quantum_ops.ledger.errors import CheckpointError, InvalidEntryError
from quantum_ops.ledger.seal import Seal
from quantum_ops.signoff import signed
from tests.archive_rig import PLAN, T0, fill
from tests.fuzz.edge_streams import PART
from tests.fuzz.target import Target
from tests.ledger_story import Ledger, request

ORIGIN = "quantum-ops/fuzz"


@functools.cache
def _made() -> dict[str, str]:
    """A journal, an archive, their checkpoints and proofs, all signed by one key."""
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        ed25519.make(base / "key.pem")
        signer = Signer(ORIGIN, base / "key.pem")
        ledger = Ledger(base / "ledger")
        ledger.seal = Seal(ORIGIN, signer)
        ledger.record(request(1), request(2, notes="a\nb: 'c'"))
        ledger.record(request(3, evidence={"hostname": "prod-1"}))
        old, new = checkpoint.history(ledger.folder)
        lines = ledger.lines()
        filled = fill(base / "archive", 40)
        checkpoint.publish(filled, Archive(filled).head, ORIGIN, signer)
        wanted = [(PLAN, f"{T0 + number}-0") for number in (1, 7)]
        made = attest.attest(Archive(filled), wanted, [signer.verifier()])
        return {
            "key": signer.verifier().text(),
            "checkpoint": new.text(),
            "proof": proof.make(lines, 2, new).text(),
            "consistency": consistency.make(lines, old, new).text(),
            "bundle": made.text(),
            "changelog": ledger.folder.changelog.read_text(),
            **{f"line{number}": line.decode() for number, line in enumerate(lines)},
        }


def _verifier() -> Verifier:
    return Verifier.parse(_made()["key"])


def _text(given: bytes) -> str:
    return given.decode("utf-8", "surrogateescape")


def _line(given: bytes) -> bool:
    found = canonical.load(given)
    assert canonical.dump(found) == given, "two texts of one record"
    return True


def _envelope(given: bytes) -> bool:
    found = canonical.envelope(given)
    # What the index believes, who reads the whole line must find, too.
    with contextlib.suppress(ValueError):
        whole = canonical.load(given)
        assert (found.seq, found.type, found.id) == (whole["seq"], whole["type"], whole["id"])
    return True


def _block(given: bytes) -> bool:
    for one in reader.fenced(_text(given)):
        reader.block(one)
    return True


def _spooled(given: bytes) -> bool:
    spool.read(cast("Path", _InMemory(given)))
    return True


class _InMemory:
    """A file as far as spool.read() asks for it: the disk would be what is measured."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def read_bytes(self) -> bytes:
        return self._content


def _signed_checkpoint(given: bytes) -> bool:
    found = checkpoint.parse(_text(given))
    _verifier().verify(found)
    assert found.body() == checkpoint.parse(_made()["checkpoint"]).body(), "nobody signed this"
    return True


def _signed_proof(given: bytes) -> bool:
    record = proof.parse(_text(given)).check(_verifier())
    assert canonical.dump(record).decode() == _made()["line1"], "a record that was never written"
    return True


def _consistent(given: bytes) -> bool:
    consistency.parse(_text(given))
    return True


def _key(given: bytes) -> bool:
    found = Verifier.parse(_text(given))
    assert Verifier.parse(found.text()) == found
    return True


def _bundle(given: bytes) -> bool:
    verdict = bundle.judge(bundle.parse(given), _verifier())
    honest = {line for line in _made()["bundle"].split('"') if line}
    if verdict.whole and verdict.signed:
        told = bundle.parse(given)
        known = {one.line for one in bundle.parse(_made()["bundle"]).entries}
        assert {one.line for one in told.entries} <= known, "an entry that never was is proven"
    return bool(honest) and verdict.whole


def _pem(given: bytes) -> bool:
    return len(ed25519.from_pem(_text(given))) == ed25519.KEY_BYTES


_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
_TRUSTED = signed.Trusted({"ci": _KEY.public_key().public_bytes_raw()}, required=True)


@functools.cache
def _deploys() -> dict[str, DeployCompleted]:
    """Honest events by their ids, signed by a producer who is trusted."""
    with tempfile.TemporaryDirectory() as name:
        key = Path(name, "ci.pem")
        pem = _KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        key.write_bytes(pem)
        bare = DeployCompleted(
            operation="P2.7", objective="o", risk_class="READ_ONLY", blast_radius="b",
            changes_summary="c", allowed_paths=("a/", "b"), notes="n: 1",
        )  # fmt: skip
        made = [signed.sign(bare, key, "ci", number) for number in (1, 2)]
        return {one.event_id: one for one in made}


def _signed_deploy(given: bytes) -> bool:
    event = codec.decoder(DeployCompleted)(given.split(PART))
    whose = _TRUSTED.judge(event)
    # Other bytes may mean the same (a list one item a line); nothing else may be believed.
    assert _deploys().get(whose) == event, "nobody signed this"
    return True


def targets() -> list[Target]:
    """All of them."""
    flats = tuple(PART.join(codec.encode(one)) for one in _deploys().values())
    names = tuple(one.encode() for one in DeployCompleted.__struct_fields__)
    made = {name: text.encode() for name, text in _made().items()}
    lines = tuple(made[name] for name in sorted(made) if name.startswith("line"))
    spooled = canonical.dump(entry.to_json(request(4)) | {"occurred_at": "2026-01-27T06:15:30Z"})
    refused = (CheckpointError,)
    return [
        Target(
            "signed deploy", "codec.Decoder, signed.Trusted.judge", _signed_deploy,
            (DecodeError, signed.ForgedError, signed.UnsignedError), flats,
            (PART, *names, b"ci/2", b"ci", b"ops"),
        ),
        Target("journal line", "canonical.load", _line, (ValueError,), lines, (b'"seq":1',)),
        Target("journal envelope", "canonical.envelope", _envelope, (ValueError,), lines),
        Target(
            "changelog", "reader.fenced, reader.block", _block, (ValueError,),
            (made["changelog"],), (b"```yaml\n", b"```\n", b"- ", b"|-\n", b": ", b"'", b'"\\u0'),
        ),
        Target("spool", "spool.read", _spooled, (InvalidEntryError,), (spooled,)),
        Target(
            "checkpoint", "checkpoint.parse, Verifier.verify", _signed_checkpoint, refused,
            (made["checkpoint"],), ("\u2014 ".encode(), b"+", b"=="),
        ),
        Target("vkey", "Verifier.parse", _key, refused, (made["key"],), (b"+",)),
        Target("PEM", "ed25519.from_pem", _pem, refused, (ed25519.pem(bytes(32)).encode(),)),
        Target(
            "proof", "proof.parse, Proof.check", _signed_proof, refused,
            (made["proof"],), (b"extra ", b"index ", b"index 0"),
        ),
        Target("consistency", "consistency.parse", _consistent, refused, (made["consistency"],)),
        Target(
            "bundle", "bundle.parse, bundle.judge", _bundle, (ProofError,),
            (made["bundle"],), (b'"entries":[]', b'"later":[]', b'"index":0', b'"checkpoint":""'),
        ),
    ]  # fmt: skip
