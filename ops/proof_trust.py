"""The only place that says whose signature under a proof is believed, and why.

A key that comes with a proof is none of them: who forges the one writes the other.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import NamedTuple

from ops import archive_place, ledger_place
from ops.ledger_trust import public_key
from ops.paths import ROOT, Paths
from quantum_ops import knobs
from quantum_ops.errors import ConfigurationError
from quantum_ops.ledger.checkpoint import Checkpoint, Signer, Verifier
from quantum_ops.ledger.errors import CheckpointError
from quantum_ops.ledger.seal import Seal
from quantum_ops.settings import ProofSettings


class Trust(NamedTuple):
    """A key that is believed, and where it comes from; ``asked`` if the operator named it."""

    key: Verifier
    why: str
    asked: bool = False


def given(text: str, path: Path, origin: str) -> Trust:
    """The key of ``--key``: the line itself, or a file of it or of a PEM (the log's ``origin``).

    Raises CheckpointError if it is none, OSError if the file cannot be read.
    """
    try:
        return Trust(Verifier.parse(text), "the key given", asked=True)
    except CheckpointError:
        if "+" in text and not path.is_file():
            raise
    return Trust(public_key(path, origin), "the key given", asked=True)


def known(one: Checkpoint | None) -> Trust | None:
    """A key of ours that ``one`` says it was signed by: pinned, or this system's own.

    Raises ConfigurationError if a pinned one is none.
    """
    if one is None:
        return None
    try:
        pinned = [Verifier.parse(text) for text in knobs.load(ProofSettings).trusted]
    except CheckpointError as error:
        raise ConfigurationError(f"VERIFY_KEYS: {error}") from None
    found = [Trust(key, "a key of VERIFY_KEYS") for key in pinned]
    found += [Trust(key, "this system's own key") for key in own()]
    fitting = (one_ for one_ in found if one_.key.name == one.origin and one_.key.signed(one))
    return next(fitting, None)


def own(paths: Paths | None = None) -> list[Verifier]:
    """The public halves of the keys by which this system signs, as far as they can be read."""
    found = []
    origin, key = archive_place.signer(paths or archive_place.paths())
    # A key may be another account's file: whoever cannot read it names the public one.
    with contextlib.suppress(CheckpointError):
        if key:
            found.append(public(origin, key))
    with contextlib.suppress(CheckpointError):
        signer = Seal.find(ledger_place.environ(), ROOT).signer
        if signer:
            found.append(signer.verifier())
    return found


def public(origin: str, key: str) -> Verifier:
    """The public half of the private key that a setting names, as the log ``origin`` has it.

    Raises CheckpointError if it cannot be read, or is none.
    """
    return Signer(origin, ROOT / Path(key).expanduser()).verifier()
