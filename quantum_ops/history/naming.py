"""The only place that says which entries are about a plan, and finds them in the archive.

An entry is about a plan by its fields alone, so that one which no type can decode is found, too.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Collection, Iterator

import msgspec

from quantum_ops import streams
from quantum_ops.history import entry
from quantum_ops.history.entry import Entry
from quantum_ops.history.reader import Archive
from quantum_ops.history.segment import Found

FIELD = {
    streams.APPLY_PLAN.key: b"plan_id",
    streams.PERMIT_DECIDED.key: b"plan_id",
    streams.APPLY_RESULT.key: b"plan_id",
    streams.AUDIT_FINDING.key: b"subject",
    streams.DEAD_LETTER.key: b"original.plan_id",
}
"""Stream key -> the field that names what its entries are about."""


def names(one: Entry, wanted: Collection[bytes]) -> bool:
    """Whether the entry is about one of these; a field that stands twice counts both times."""
    name = FIELD.get(one.stream)
    flat = one.flat
    return any(flat[at] == name and flat[at + 1] in wanted for at in range(0, len(flat) - 1, 2))


def find(archive: Archive, wanted: Collection[bytes]) -> Iterator[Found]:
    """The archived entries about one of these, in the order of archiving; a block at a time."""
    needles = [_needle(one) for one in wanted]
    for segment in archive.segments:
        if not FIELD.keys() & segment.spans.keys():
            continue
        held = segment.blocks()
        fitting = [at for at, block in enumerate(held) if FIELD.keys() & block.spans.keys()]
        for block, raw in segment.raw(held, fitting):
            if not any(needle in raw for needle in needles):
                continue
            for at, line in enumerate(raw[:-1].split(b"\n"), block.first):
                if any(needle in line for needle in needles):
                    one = entry.decode(line)
                    if names(one, wanted):
                        yield Found(at, one, line)


def _needle(value: bytes) -> bytes:
    """How a line shows this value."""
    try:
        return msgspec.json.encode(value.decode())
    except UnicodeDecodeError:
        return b'"%b"' % b64encode(value)
