"""The only place that shows replayed entries: a line each, as text or JSON, fit for a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from ops.terminal import safe
from quantum_ops import streams
from quantum_ops.history import entry as lines
from quantum_ops.history.entry import Entry

MAX_VALUE = 200
_LAST_MS = 253_402_300_799_999
"""9999-12-31; an id may lie beyond it."""


def as_text(entries: Iterable[Entry]) -> Iterator[str]:
    """Time, id, stream and fields of each; controls, bidi marks and bad UTF-8 are escaped."""
    for one in entries:
        flat = one.flat
        pairs = zip(flat[::2], flat[1::2], strict=False)
        shown = "  ".join(f"{safe(name, 60)}={safe(value, MAX_VALUE)}" for name, value in pairs)
        yield f"{when(one.ms)}  {one.id}  {safe(streams.short(one.stream))}  {shown}"


def as_json(entries: Iterable[Entry]) -> Iterator[str]:
    """Each as the archive has it; whatever is no plain ASCII is escaped."""
    for one in entries:
        yield escaped(lines.encode(one.stream, one.id.encode(), one.flat))


def escaped(line: bytes) -> str:
    """A line of JSON in printable ASCII: the same document to every reader."""
    if line.isascii() and b"\x7f" not in line:
        return line.decode()
    return json.dumps(json.loads(line), separators=(",", ":")).replace("\x7f", "\\u007f")


def when(ms: int) -> str:
    """UTC, to the millisecond."""
    moment = datetime.fromtimestamp(min(ms, _LAST_MS) / 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03d}Z"
