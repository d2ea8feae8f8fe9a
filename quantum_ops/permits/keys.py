"""The only place of the keys that sign permits: Ed25519 (RFC 8032) in PEM files."""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from quantum_ops.errors import ConfigurationError

_MAKE = "openssl genpkey -algorithm ed25519 -out FILE && chmod 600 FILE"
MAX_FILE_BYTES = 16 * 1024


class Signer:
    """Signs with one private key. ``key_id`` names its public key to readers."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.key_id = key_id(key.public_key())

    @classmethod
    def from_file(cls, path: str) -> Signer:
        """The signer of the PEM file at ``path``.

        Raises :class:`ConfigurationError` for a file that cannot be read, that others than its
        owner can read, or that holds anything but an unencrypted Ed25519 private key.
        """
        problem = f"P33_SIGNING_KEY={path}"
        try:
            with Path(path).open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                content = file.read(MAX_FILE_BYTES)
        except OSError as error:
            raise ConfigurationError(f"{problem}: {error.strerror}; make one: {_MAKE}") from None
        if stat.S_IMODE(mode) & 0o077:
            raise ConfigurationError(
                f"{problem}: others may read it (mode {stat.S_IMODE(mode):04o}); chmod 600 {path}, "
                "and make a new key if anybody could have"
            )
        try:
            key = load_pem_private_key(content, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ConfigurationError(
                f"{problem}: holds no unencrypted PEM private key; make one: {_MAKE}"
            ) from None
        if not isinstance(key, Ed25519PrivateKey):
            raise ConfigurationError(f"{problem}: is no Ed25519 key; make one: {_MAKE}")
        return cls(key)

    def sign(self, content: bytes) -> str:
        """The signature over ``content``, in base64."""
        return base64.b64encode(self._key.sign(content)).decode()

    @property
    def public_pem(self) -> bytes:
        """The public half, for executors."""
        return self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def key_id(key: Ed25519PublicKey) -> str:
    """The first 16 hex digits of the SHA-256 of the raw public key."""
    raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:16]


def public_key(path: str | Path) -> Ed25519PublicKey:
    """The public key in the PEM file at ``path``; raises :class:`ConfigurationError`."""
    try:
        with Path(path).open("rb") as file:
            key = load_pem_public_key(file.read(MAX_FILE_BYTES))
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigurationError(
            f"{path}: holds no PEM Ed25519 public key; openssl pkey -in KEY -pubout -out {path}"
        )
    return key


def trusted(paths: Iterable[str | Path]) -> dict[str, Ed25519PublicKey]:
    """Public keys by key id, as :func:`quantum_ops.permits.verify` takes them."""
    keys = [public_key(path) for path in paths]
    return {key_id(key): key for key in keys}


def new_key(path: str | Path) -> Signer:
    """Make a key: ``path`` (mode 0600) and ``path``.pub. Both or none; never replaces a file."""
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
        signer = Signer(key)
        try:
            with Path(f"{path}.pub").open("xb") as file:
                file.write(signer.public_pem)
        except OSError:
            Path(path).unlink()  # ours, made a moment ago: O_EXCL
            raise
    except FileExistsError as error:
        raise ConfigurationError(f"{error.filename}: is there already; name another file") from None
    except OSError as error:
        raise ConfigurationError(f"{error.filename}: {error.strerror}") from None
    return signer
