"""The only place that signs and checks signatures.

By ``cryptography`` where it is installed, else by ``openssl``; each reads what the other wrote.
"""

from __future__ import annotations

import base64
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from quantum_ops.ledger.errors import CheckpointError

KEY_BYTES = 32
SIGNATURE_BYTES = 64
OPENSSL_S = 10.0
_SPKI = bytes.fromhex("302a300506032b6570032100")
"""What stands before the raw public key in its DER form (RFC 8410)."""

_PEM = re.compile(r"-----BEGIN PUBLIC KEY-----\s+([A-Za-z0-9+/=\s]+)-----END PUBLIC KEY-----")


def make(path: Path) -> None:
    """Write a new private key to ``path`` (PEM, readable by its owner alone).

    Raises:
        CheckpointError: if there is a file already, or no ``openssl``.
    """
    if path.exists():
        raise CheckpointError(f"{path}: there is a key already; name another file")
    path.parent.mkdir(parents=True, exist_ok=True)
    pem = _openssl("genpkey", "-algorithm", "ed25519")
    path.touch(mode=0o600, exist_ok=False)
    path.write_bytes(pem)


def public(key: Path) -> bytes:
    """The raw public half of the private key in ``key``.

    Raises:
        CheckpointError: if it is no readable Ed25519 key.
    """
    _readable(key)
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415 - optional
            Ed25519PrivateKey,
        )
        from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415 - optional
            load_pem_private_key,
        )
    except ImportError:
        der = _openssl("pkey", "-in", str(key), "-pubout", "-outform", "DER")
        if len(der) != len(_SPKI) + KEY_BYTES or not der.startswith(_SPKI):
            raise CheckpointError(_no_key(key)) from None
        return der[len(_SPKI) :]
    try:
        found = load_pem_private_key(key.read_bytes(), None)
    except (ValueError, TypeError):
        raise CheckpointError(_no_key(key)) from None
    if not isinstance(found, Ed25519PrivateKey):
        raise CheckpointError(_no_key(key))
    return found.public_key().public_bytes_raw()


def pem(raw: bytes) -> str:
    """A raw public key as the PEM that OpenSSL reads."""
    shown = base64.b64encode(_SPKI + raw).decode()
    return f"-----BEGIN PUBLIC KEY-----\n{shown}\n-----END PUBLIC KEY-----\n"


def from_pem(text: str) -> bytes:
    """The raw public key of a PEM.

    Raises:
        CheckpointError: if it is none of Ed25519.
    """
    found = _PEM.search(text)
    try:
        der = base64.b64decode("".join(found[1].split()), validate=True) if found else b""
    except ValueError:
        der = b""
    if len(der) != len(_SPKI) + KEY_BYTES or not der.startswith(_SPKI):
        raise CheckpointError("not an Ed25519 public key in PEM (-----BEGIN PUBLIC KEY-----)")
    return der[len(_SPKI) :]


def sign(key: Path, message: bytes) -> bytes:
    """The signature of ``message`` by the private key in ``key``.

    Raises:
        CheckpointError: if it is no readable Ed25519 key.
    """
    _readable(key)
    try:
        from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415 - optional
            load_pem_private_key,
        )
    except ImportError:
        with tempfile.TemporaryDirectory() as name:
            text = Path(name, "message")  # a one-shot signature needs a file of known size
            text.write_bytes(message)
            return _openssl("pkeyutl", "-sign", "-rawin", "-inkey", str(key), "-in", str(text))
    try:
        found: Any = load_pem_private_key(key.read_bytes(), None)
        signature = found.sign(message)
    except (ValueError, TypeError, AttributeError):
        raise CheckpointError(_no_key(key)) from None
    return bytes(signature)


def verify(raw: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the private half of the public key ``raw`` made ``signature`` of ``message``."""
    if len(raw) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - optional
        from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415 - optional
            Ed25519PublicKey,
        )
    except ImportError:
        return _verify_by_openssl(raw, message, signature)
    try:
        Ed25519PublicKey.from_public_bytes(raw).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _verify_by_openssl(raw: bytes, message: bytes, signature: bytes) -> bool:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, content in (("key", _SPKI + raw), ("message", message), ("signature", signature)):
            (folder / file).write_bytes(content)
        try:
            _openssl(
                "pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER",
                "-inkey", f"{name}/key", "-in", f"{name}/message", "-sigfile", f"{name}/signature",
            )  # fmt: skip
        except _RefusedError:
            return False
    return True


class _RefusedError(CheckpointError):
    """openssl ran, and said no."""


def _openssl(*arguments: str) -> bytes:
    try:
        ran = subprocess.run(
            ["openssl", *arguments], stdin=subprocess.DEVNULL, capture_output=True,
            timeout=OPENSSL_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CheckpointError(
            f"openssl: {error}; install openssl 3, or the Python package cryptography"
        ) from None
    if ran.returncode:
        said = (ran.stderr or ran.stdout).decode("utf-8", "replace").strip()
        raise _RefusedError(f"openssl {arguments[0]}: {said:.200}")
    return ran.stdout


def _readable(key: Path) -> None:
    try:
        with key.open("rb"):
            pass
    except OSError as error:
        raise CheckpointError(
            f"LEDGER_KEY: {error}; make one with: ./run ledger key PATH"
        ) from None


def _no_key(key: Path) -> str:
    return f"{key}: not an Ed25519 private key in PEM; make one with: ./run ledger key PATH"
