"""Ed25519 against published values, by cryptography and by openssl alike."""

from __future__ import annotations

import base64
import builtins
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quantum_ops.ledger import ed25519
from quantum_ops.ledger.errors import CheckpointError

# RFC 8032, section 7.1: secret key, public key, message, signature.
VECTORS = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        ("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf"
         "9b46bd25bf5f0595bbe24655141438e7a100b"),
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        ("92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f"
         "11d8c387b2eaeb4302aeeb00d291612bb0c00"),
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        ("6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984"
         "dc6594a7c15e9716ed28dc027beceea1ec40a"),
    ),
]  # fmt: skip
ORDER = 2**252 + 27742317777372353535851937790883648493
"""Of the group: a signature with S + ORDER says the same, and RFC 8032 forbids it."""


@pytest.fixture(params=["cryptography", "openssl"])
def by(request, monkeypatch):
    """Both ways that signatures are made and checked."""
    if request.param == "openssl":
        real = builtins.__import__

        def refuse(name, *rest, **more):
            if name.startswith("cryptography"):
                raise ImportError(name)
            return real(name, *rest, **more)

        monkeypatch.setattr(builtins, "__import__", refuse)
    return request.param


def private_pem(path, secret):
    """A key file of these 32 bytes (PKCS 8, RFC 8410)."""
    der = bytes.fromhex("302e020100300506032b657004220420") + secret
    shown = base64.b64encode(der).decode()
    path.write_text(f"-----BEGIN PRIVATE KEY-----\n{shown}\n-----END PRIVATE KEY-----\n")
    return path


@pytest.mark.parametrize("vector", VECTORS)
def test_published_keys_sign_as_published(by, tmp_path, vector):
    secret, public, message, signature = map(bytes.fromhex, vector)
    key = private_pem(tmp_path / "key.pem", secret)
    assert ed25519.public(key) == public
    if by == "openssl" and not message:
        return  # pkeyutl of openssl 3.0 takes no empty file; a checkpoint is never empty
    assert ed25519.sign(key, message) == signature
    assert ed25519.verify(public, message, signature)


@pytest.mark.parametrize("vector", VECTORS)
def test_what_differs_from_a_published_signature_in_anything_is_none(by, vector):
    _, public, message, signature = map(bytes.fromhex, vector)
    flipped = [signature[:at] + bytes([signature[at] ^ 1]) + signature[at + 1 :]
               for at in range(0, 64, 9)]  # fmt: skip
    more = int.from_bytes(signature[32:], "little") + ORDER
    malleable = signature[:32] + more.to_bytes(32, "little")
    wrong = [*flipped, malleable, signature[:-1], signature + b"\0", b"", bytes(64)]
    assert [one for one in wrong if ed25519.verify(public, message, one)] == []
    assert not ed25519.verify(public, message + b"\0", signature)
    assert not ed25519.verify(public[::-1], message, signature)
    assert not ed25519.verify(public[:-1], message, signature)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=300))
def test_a_library_signs_what_we_verify_and_the_other_way_round(tmp_path, secret, message):
    theirs = Ed25519PrivateKey.from_private_bytes(secret)
    key = private_pem(tmp_path / "key.pem", secret)
    public = theirs.public_key().public_bytes_raw()
    ours = ed25519.sign(key, message)
    assert ours == theirs.sign(message)
    assert ed25519.public(key) == public
    theirs.public_key().verify(ours, message)
    assert ed25519.verify(public, message, ours)
    assert not ed25519.verify(public, message + b"x", ours)


def test_a_public_key_is_written_as_openssl_writes_it(tmp_path):
    key = tmp_path / "key.pem"
    ed25519.make(key)
    ours = ed25519.pem(ed25519.public(key))
    shown = subprocess.run(
        ["openssl", "pkey", "-in", key, "-pubout"], capture_output=True, text=True, check=True
    )
    assert ours == shown.stdout
    assert ed25519.from_pem(f"a comment\n{ours}\n") == ed25519.public(key)


@pytest.mark.parametrize("kind", ["rsa", "private", "cut", "empty", "not base64", "x25519"])
def test_what_is_no_public_key_is_refused(tmp_path, kind):
    ed25519.make(tmp_path / "key.pem")
    text = ed25519.pem(ed25519.public(tmp_path / "key.pem"))
    if kind == "rsa":
        rsa = tmp_path / "rsa.pem"
        make = ["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"]
        subprocess.run([*make, "-out", rsa], capture_output=True, check=True)
        shown = ["openssl", "pkey", "-in", rsa, "-pubout"]
        text = subprocess.run(shown, capture_output=True, text=True, check=True).stdout
    text = {
        "private": (tmp_path / "key.pem").read_text(), "cut": text.replace("MCow", ""),
        "empty": "", "not base64": text.replace("MCow", "MCo=w"), "x25519": text.replace("V", "W"),
    }.get(kind, text)  # fmt: skip
    if kind == "x25519":
        raw = bytes.fromhex("302a300506032b656e032100") + bytes(32)
        body = base64.b64encode(raw).decode()
        text = f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n"
    with pytest.raises(CheckpointError, match="not an Ed25519 public key"):
        ed25519.from_pem(text)
