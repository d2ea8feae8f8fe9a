"""Requests that could not be recorded when they came; the only place where they wait.

One file each, in the ledger's folder. The consumer, or the next run of the command line tool, takes
them in; a request that breaks a rule goes to ``rejected/`` with the reason beside it.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from quantum_ops.ledger import durable, entry
from quantum_ops.ledger.errors import InvalidEntryError
from quantum_ops.ledger.folder import Folder

REJECTED = "rejected"


def put(folder: Folder, request: entry.Request) -> Path:
    """Keep ``request``; gives its file. When this returns it MUST be durable.

    The request must name its source: that is how it is recognised if it was recorded after all.

    Raises:
        OSError: if it cannot be written. Then it is kept nowhere.
    """
    if not request.stream_id:
        raise ValueError("stream_id: is empty; give the request a source before it is spooled")
    content = json.dumps(entry.to_json(entry.redacted(request)), sort_keys=True, indent=1)
    path = folder.spool / f"{time.time_ns():020d}-{os.getpid()}.json"
    # Escapes, not UTF-8: whatever a request holds, spooling it is the last thing that may fail.
    durable.write(path, content.encode("ascii"))
    return path


def waiting(folder: Folder) -> list[Path]:
    """The files of all requests that wait, oldest first."""
    try:
        found = [one for one in folder.spool.iterdir() if one.suffix == ".json"]
    except FileNotFoundError:
        return []
    return sorted(one for one in found if not one.name.startswith("."))


def read(path: Path) -> entry.Request:
    """The request of a spooled file.

    Raises:
        InvalidEntryError: if it is none.
        OSError: if it cannot be read; FileNotFoundError if another process took it in.
    """
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InvalidEntryError(f"{path}: not JSON ({error})") from None
    if not isinstance(found, dict):
        raise InvalidEntryError(f"{path}: not a JSON object")
    return entry.from_json(found)


def done(path: Path) -> None:
    """Forget a request: it stands in the journal, durably."""
    path.unlink(missing_ok=True)


def reject(path: Path, reason: str) -> Path:
    """Put a request aside that can never be recorded as it is; gives its new place."""
    kept = path.parent / REJECTED / path.name
    durable.write(
        kept.with_suffix(".reason.txt"), f"{reason}\n".encode("utf-8", "backslashreplace")
    )
    path.replace(kept)
    durable.sync_folder(kept.parent)
    durable.sync_folder(path.parent)
    return kept
