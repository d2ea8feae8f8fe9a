"""The only place that says which entries are about a plan, and finds them in the archive.

An entry is about a plan by its fields alone, so that one which no type can decode is found, too.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Collection, Iterator

from quantum_ops import streams
from quantum_ops.history import entry
from quantum_ops.history.entry import Entry
from quantum_ops.history.reader import Archive
from quantum_ops.history.search import Search
from quantum_ops.history.segment import Found
from quantum_ops.history.terms import PLAN, Term

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


def find(search: Search, wanted: Collection[bytes]) -> list[Found]:
    """The archived entries about one of these, in the order of archiving.

    They are looked up; a name that is no text stands in no lookup file, so all is read for it.
    """
    found: dict[int, Found] = {}
    odd = []
    for one in wanted:
        try:
            term = Term(PLAN, one.decode())
        except UnicodeDecodeError:
            odd.append(one)
            continue
        found.update((each.at, each) for each in search.find(term))
    if odd:
        found.update((each.at, each) for each in _read(search.archive, odd))
    return [found[at] for at in sorted(found)]


def _read(archive: Archive, wanted: Collection[bytes]) -> Iterator[Found]:
    needles = [b'"%b"' % b64encode(one) for one in wanted]
    for number, segment in enumerate(archive.segments):
        if not FIELD.keys() & segment.spans.keys():
            continue
        held = archive.blocks(number)
        fitting = [at for at, block in enumerate(held) if FIELD.keys() & block.spans.keys()]
        for block, raw in segment.raw(held, fitting):
            if not any(needle in raw for needle in needles):
                continue
            for at, line in enumerate(raw[:-1].split(b"\n"), block.first):
                if any(needle in line for needle in needles):
                    one = entry.decode(line)
                    if names(one, wanted):
                        yield Found(at, one, line)
