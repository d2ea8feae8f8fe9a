"""What one line of the journal looks like to people, and what was adopted before there was one.

A pure function of the line's bytes: no clock, no host, no locale. ``sheets`` puts what it gives
into files.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

from quantum_ops.ledger import emitter, fields, pages, quick
from quantum_ops.ledger.quick import Entry

CHANGELOG = "OPS_CHANGELOG.md"
"""The name that the projection of the changelog goes by, whatever the file is called."""

LEGACY_SHOWN_BYTES = 128 * 1024
"""An adopted changelog up to this size ends ours; a longer one has a page of its own, since what
stands in ours is written again with each append."""

LEGACY_PAGE = f"{pages.FOLDER}/before-the-ledger.md"
SILENT = frozenset({"legacy.imported", "drift.detected"})
"""Records that are no entries: what was adopted stands as a whole, drift is about the files."""

_MONTH_HEAD = """\
# Operations of {month}, one document each, oldest first; rendered from the ledger's journal.
# Grows at its end only. That an operation was rolled back stands in the document that did it.
"""
ID = re.compile(r"OPS-[0-9]{4}-[0-9]{2}-[0-9]{2}-[0-9]{3,}")
_OCCURRED = re.compile(r"[0-9]{4}-[0-9]{2}")


def show(line: bytes) -> Entry | None:
    """How one line of the journal is shown; None if it is no entry.

    Raises:
        ValueError: if it is none of a journal; ``ledger verify`` tells which and why.
    """
    return quick.show(line) or entry(parsed(line))


def parsed(line: bytes) -> dict[str, Any]:
    """One line of the journal as a record.

    Raises:
        ValueError: if it is none.
    """
    try:
        record = json.loads(line)
        if isinstance(record["data"], dict) and isinstance(record["seq"], int) and record["type"]:
            return dict(record)
    except (ValueError, KeyError, TypeError):
        pass
    raise ValueError(f"not a line of the journal, run 'ledger verify': {line!r:.120}")


def entry(record: Mapping[str, Any]) -> Entry | None:
    """How a record is shown; None if it is no entry."""
    if record["type"] in SILENT:
        return None
    month = str(record["occurred_at"])[:7]
    if not _OCCURRED.fullmatch(month):
        raise ValueError(f"record {record['seq']}: occurred_at {month!r} is no time of RFC 3339")
    data = record["data"]
    recorded = record["type"] == "operation.recorded"
    if not recorded:
        data = {**data, "record": record["type"]}
    operation_id = str(data.get("operation_id")) if recorded else ""
    undoes = recorded and data.get("outcome") == "ROLLBACK"
    return Entry(
        seq=record["seq"],
        month=month,
        operation_id=operation_id if ID.fullmatch(operation_id) else "",
        rollback_of=str(data.get("rollback_of", "")) if undoes else "",
        block=emitter.block(fields.ordered(data)).encode(),
    )


def join(parts: Iterable[Mapping[str, Any]]) -> bytes:
    """The very bytes that were adopted in ``parts``."""
    return b"".join(
        base64.b64decode(part["base64"]) if "base64" in part else part["text"].encode()
        for part in sorted(parts, key=lambda part: int(part["part"]))
    )


def legacy(lines: Iterable[bytes]) -> dict[str, bytes]:
    """What was adopted, by the name of its file."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for line in lines:
        if b'"legacy.imported"' in line:
            record = parsed(line)
            if record["type"] == "legacy.imported":
                found.setdefault(record["data"]["name"], []).append(record["data"])
    return {name: join(parts) for name, parts in found.items()}


def before(name: str, content: bytes) -> bytes:
    """What the changelog ends with if ``content`` was there before the ledger: it, or a link."""
    long = f"The changelog as it was: [{LEGACY_PAGE}]({LEGACY_PAGE})\n".encode()
    kept = content if len(content) <= LEGACY_SHOWN_BYTES else long
    return pages.legacy_section(name, len(content), kept)


def month_text(month: str, blocks: Iterable[bytes]) -> bytes:
    """The YAML stream of one month, from the blocks of its entries in the order of the journal."""
    return b"".join([_MONTH_HEAD.format(month=month).encode(), *blocks])


def legacy_name(name: str) -> str:
    """Where an adopted month file stands: beside ours, which takes its name."""
    return str(PurePosixPath(name).with_suffix(".legacy.yaml"))
