"""How entries are spread over the changelog and its pages; the only place of it.

A month's entries are counted off in parts of 50. The changelog shows the newest parts, at most 100
entries in all; every other part has a page of its own. So an append touches a file or two of
bounded size however long the ledger is, and a part that left the changelog never comes back to it.
All of it works on the text of entries, rendered once and moved as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

PART = 50
SHOWN = 100
FOLDER = "OPS_CHANGELOG"
"""The pages' folder, beside the changelog."""

Part = tuple[str, int]
"""A month and the number of a part in it, from 1 on."""

_HEAD = b"""\
# Operations Changelog & Signoff Ledger

Every operation, newest first. Rendered from the ledger's journal: a change made here is told as
drift and becomes no part of the record. To record or to roll back, append an entry:
`python3 ops/ops_ledger_append.py --help`.

<!-- up to record %d -->

---
"""
_PAGE_HEAD = b"""\
# Operations Changelog, %s

[The newest entries](../OPS_CHANGELOG.md)%s

<!-- up to record %d -->

---

## %s

"""
_LEGACY_HEAD = b"""
---

## Before the ledger

<!-- %s as it was found, %d bytes -->

"""
_LEGACY = b"\n## Before the ledger\n"
_UP_TO = re.compile(rb"^<!-- up to record ([0-9]+) -->$", re.MULTILINE)
_CHUNK = re.compile(
    rb"^<!-- record [0-9, a-z]+ -->\n```yaml\n---.*?^```\n", re.MULTILINE | re.DOTALL
)
_NUMBER = re.compile(rb"[0-9]+")
_BEFORE_MARK = re.compile(
    rb"^(?:rolled_back_by: .*|rollback_of: .*|outcome: .*|```)\n", re.MULTILINE
)


def part_of(number: int) -> int:
    """The part that the ``number``-th entry of a month (from 1 on) stands in."""
    return (number - 1) // PART + 1


def parts(counts: Mapping[str, int]) -> Iterator[tuple[Part, int]]:
    """All parts, newest first, with the number of entries in each."""
    for month in sorted(counts, reverse=True):
        last = part_of(counts[month])
        yield (month, last), counts[month] - (last - 1) * PART
        for number in range(last - 1, 0, -1):
            yield (month, number), PART


def shown(counts: Mapping[str, int]) -> dict[Part, int]:
    """The parts that the changelog itself shows, newest first, with their sizes."""
    found: dict[Part, int] = {}
    room = SHOWN
    for part, size in parts(counts):
        room -= size
        if room < 0:
            break
        found[part] = size
    return found


def name(part: Part) -> str:
    """The file of a part's page, from the changelog's folder on."""
    month, number = part
    return f"{FOLDER}/{month}.md" if number == 1 else f"{FOLDER}/{month}-part-{number}.md"


def chunk(seq: int, block: bytes) -> bytes:
    """One entry as it stands in the changelog: the number of its record, and its block, fenced."""
    return b"<!-- record %d -->\n```yaml\n%b```\n" % (seq, block)


def marked(entry: bytes, operation_id: str, seq: int) -> bytes:
    """The entry's text with the operation that rolled it back, which record ``seq`` tells of."""
    comment, text = entry.split(b"\n", 1)
    by = operation_id.encode()
    joint = b", " if b"rolled back by" in comment else b", rolled back by "
    comment = b"%s%s%d -->" % (comment[: -len(b" -->")], joint, seq)
    # These names stand at the margin once at most: every value stands deeper, or behind its name.
    found = {match[0].split(b":")[0]: match for match in _BEFORE_MARK.finditer(text)}
    known = found.get(b"rolled_back_by")
    if known:
        return b"%s\n%s, %s%s" % (comment, text[: known.end() - 1], by, text[known.end() - 1 :])
    after = found.get(b"rollback_of") or found.get(b"outcome")
    at = after.end() if after else found[b"```\n"].start()
    return b"%s\n%srolled_back_by: %s\n%s" % (comment, text[:at], by, text[at:])


def is_of(entry: bytes, operation_id: str) -> bool:
    """Whether the entry's text is that of this very operation."""
    return b"\n```yaml\n---\noperation_id: %s\n" % operation_id.encode() in entry


def main(
    counts: Mapping[str, int], entries: Mapping[Part, Sequence[bytes]], up_to: int, legacy: bytes
) -> bytes:
    """The changelog: ``entries`` of each shown part, oldest first, and links to the other parts."""
    inside = shown(counts)
    text = [_HEAD % up_to]
    months = sorted({month for month, _ in inside}, reverse=True)
    for month in months:
        numbers = sorted((number for one, number in inside if one == month), reverse=True)
        text.append(b"\n## %s\n" % month.encode())
        for number in numbers:
            text += [b"\n" + one for one in reversed(entries[month, number])]
        if numbers[-1] > 1:
            older = name((month, numbers[-1] - 1))
            text.append(f"\n[Older entries of {month}]({older})\n".encode())
    if not months:
        text.append(b"\nNothing was recorded yet.\n")
    older_months = sorted(set(counts) - set(months), reverse=True)
    if older_months:
        text.append(b"\n## Older months\n\n")
        for month in older_months:
            link = name((month, part_of(counts[month])))
            text.append(f"- [{month}]({link}): {counts[month]}\n".encode())
    return b"".join([*text, legacy])


def page(part: Part, entries: Sequence[bytes]) -> bytes:
    """The page of one part, its entries given oldest first."""
    month, number = part
    title = month if number == 1 else f"{month}, part {number}"
    older = ""
    if number > 1:
        older = f" · [older ones of this month]({name((month, number - 1)).split('/')[1]})"
    up_to = max(map(newest, entries))
    head = _PAGE_HEAD % (title.encode(), older.encode(), up_to, month.encode())
    return head + b"\n".join(reversed(entries))


def legacy_section(file: str, size: int, shown: bytes) -> bytes:
    """What ends the changelog if there was one before the ledger: that very file, or a link."""
    return _LEGACY_HEAD % (file.encode(), size) + shown


def newest(entry: bytes) -> int:
    """The newest of the records that an entry's text comes from: its own, and of what undid it."""
    seqs = entry[len(b"<!-- record ") : entry.index(b" -->")]
    return int(seqs) if seqs.isdigit() else max(map(int, _NUMBER.findall(seqs)))


def up_to(text: bytes) -> int | None:
    """The number of the newest record that a rendered file knows; None if it names none."""
    found = _UP_TO.search(text)
    return int(found[1]) if found else None


def split(text: bytes) -> tuple[list[bytes], bytes]:
    """The entries of a changelog or page, newest first, and the section before the ledger."""
    start = text.find(_LEGACY)
    # The rule above its heading belongs to the section; no entry can hold such a heading.
    end = len(text) if start < 0 else start - len(b"\n---\n")
    return _CHUNK.findall(text[:end]), text[end:]
