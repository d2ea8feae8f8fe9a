"""The only place that sees what the ledger made of a published deploy, and waits for it."""

from __future__ import annotations

import time
from dataclasses import dataclass

import redis
import walrus

from ops.terminal import safe
from quantum_ops import streams
from quantum_ops.ledger.folder import Folder
from quantum_ops.ledger.lookup import Lookup

_POLL_S = 0.1
_LETTERS = 100


@dataclass(frozen=True, slots=True)
class Outcome:
    """``operation_id`` if it is recorded, ``refused`` if the ledger's consumer buried it."""

    operation_id: str = ""
    refused: str = ""


def wait(
    db: walrus.Database, folder: Folder, entry_id: str, event_id: str, patience_s: float
) -> Outcome:
    """What became of that entry of deploy.completed; an empty one if nothing did in time.

    Raises ``ValueError`` or ``OSError`` if the journal cannot be read.
    """
    deadline = time.monotonic() + patience_s
    while True:
        found = _recorded(folder, entry_id, event_id)
        if found:
            return Outcome(operation_id=found)
        refused = refusal(db, entry_id)
        if refused or time.monotonic() > deadline:
            return Outcome(refused=refused)
        time.sleep(_POLL_S)


def _recorded(folder: Folder, entry_id: str, event_id: str) -> str:
    from quantum_ops.ledger import canonical  # noqa: PLC0415 - with its journal only

    with Lookup(folder) as lookup:
        for name in (streams.DEPLOY_COMPLETED.key, streams.DEPLOY_COMPLETED.name):
            for source_id in (event_id, entry_id):
                found = lookup.source(name, source_id)
                if found:
                    return str(canonical.envelope(found.line).id)
    return ""


def refusal(db: walrus.Database, entry_id: str) -> str:
    """Why the ledger's consumer buried that entry; "" if it did not, or the server is away."""
    try:
        # A letter is not older than its entry.
        letters = db.xrevrange(
            streams.DEAD_LETTER.key, "+", f"{entry_id.partition('-')[0]}-0", count=_LETTERS
        )
    except (redis.RedisError, OSError):
        return ""
    for letter_id, fields in letters:
        if fields.get(b"entry_id") == entry_id.encode() and fields.get(b"group") == b"ledger":
            why = safe(fields.get(b"error", b"") or fields.get(b"reason", b""))
            return (
                f"the ledger refused it: {why}; ./run dlq show {letter_id.decode()}, and "
                "./run dlq requeue puts it back"
            )
    return ""
