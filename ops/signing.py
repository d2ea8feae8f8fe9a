"""The only place where what we send is signed: deploys, by the key of this producer."""

from __future__ import annotations

from pathlib import Path

import msgspec

from quantum_ops import knobs
from quantum_ops.events import DeployCompleted, Event
from quantum_ops.ledger.errors import CheckpointError
from quantum_ops.settings import LedgerSettings
from quantum_ops.signoff import signed


def key() -> Path | None:
    """The file of this producer's key, if deploys are to be signed."""
    named = knobs.load(LedgerSettings).signing_key
    return Path(named).expanduser() if named else None


def check() -> None:
    """Raise ``ValueError`` for a key that cannot sign: better before a deploy than in it."""
    path = key()
    if path is not None:
        _usable(path)


def numbered(event: DeployCompleted) -> DeployCompleted:
    """``event`` under the next number of this producer, still unsigned; itself without a key.

    What was deployed must be told even if the key went away meanwhile: then it says that, and is
    unsigned.
    """
    path = key()
    if path is None:
        return event
    try:
        made = _signed(event, path, None)
    except ValueError as error:
        return msgspec.structs.replace(event, notes=f"{event.notes}; not signed: {error}")
    return msgspec.structs.replace(made, signature=None)


def resigned(event: DeployCompleted) -> DeployCompleted:
    """A numbered event with its signature; raises ``ValueError`` if the key is gone."""
    if event.producer is None or event.seq is None:
        return event
    path = key()
    if path is None:
        raise ValueError(
            f"DEPLOY_SIGNING_KEY: is not set, and {event.event_id} was to be signed; set it again"
        )
    return _signed(event, path, event.seq)


def publishable(event: Event, named: str | None, number: int | None) -> Event:
    """``event``, signed if there is a key: ``named``, else that of the settings."""
    path = Path(named).expanduser() if named else key()
    if not isinstance(event, DeployCompleted):
        return event
    if number is not None and not 1 <= number <= signed.MOST_NUMBER:
        raise ValueError(f"--seq {number}: numbers begin with 1")
    if path is None:
        if number is not None:
            raise ValueError("--seq: an event has a number only if it is signed; add --key FILE")
        return event
    return _signed(event, path, number)


def _usable(path: Path) -> str:
    """The producer whose key lies at ``path``; raises ``ValueError`` if it cannot sign."""
    try:
        signed.check_key(path)
    except OSError as error:
        raise ValueError(
            f"{path}: {error.strerror or error}; make a key: ./run permit key {path}"
        ) from None
    except CheckpointError as error:
        raise ValueError(f"key: {error}") from None
    return signed.producer_of(path)


def _signed(event: DeployCompleted, path: Path, number: int | None) -> DeployCompleted:
    try:
        producer = _usable(path)
        number = signed.next_number(path) if number is None else number
        return signed.sign(event, path, producer, number)
    except OSError as error:
        raise ValueError(f"{error.filename or path}: {error.strerror or error}") from None
    except CheckpointError as error:
        raise ValueError(f"key: {error}") from None
