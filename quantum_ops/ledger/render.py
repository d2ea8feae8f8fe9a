"""What the journal's lines look like to people: a pure function from their bytes to files.

Nothing but the lines decides: no clock, no host, no locale, no file that is there already. The same
lines give the same bytes, and any prefix of them gives what was rendered when it was the journal.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from quantum_ops.ledger import emitter, fields, pages, quick

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


class Entry(NamedTuple):
    """One record as it is shown. ``operation_id`` and ``rollback_of`` are empty for conflicts."""

    seq: int
    month: str
    operation_id: str
    rollback_of: str
    block: str


@dataclass(slots=True)
class Contents:
    """Everything that the journal holds for people: its entries, and what was adopted, by name."""

    entries: list[Entry] = field(default_factory=list)
    legacy: dict[str, bytes] = field(default_factory=dict)

    def until(self, seq: int) -> Contents:
        """The same as it was when record ``seq`` was the newest."""
        return Contents([one for one in self.entries if one.seq <= seq], self.legacy)

    def counts(self) -> dict[str, int]:
        """The number of entries in each month."""
        counts: dict[str, int] = {}
        for one in self.entries:
            counts[one.month] = counts.get(one.month, 0) + 1
        return counts

    def files(self, *, every_page: bool = False) -> dict[str, bytes]:
        """Every projection by its name.

        ``OPS_CHANGELOG.md`` and names below ``OPS_CHANGELOG/`` belong beside the changelog, all
        others into the ledger's folder. ``every_page`` adds the pages of parts that the changelog
        shows itself.
        """
        counts = self.counts()
        shown = pages.shown(counts)
        texts = self._texts()
        found = {
            pages.name(part): pages.page(part, text)
            for part, text in texts.items()
            if every_page or part not in shown
        }
        blocks: dict[str, list[str]] = {month: [] for month in counts}
        for one in self.entries:
            blocks[one.month].append(one.block)
        found |= {f"{month}.yaml": month_text(month, of) for month, of in blocks.items()}
        for name, content in self.legacy.items():
            if name.endswith(".yaml"):
                found[legacy_name(name)] = content
            elif len(content) > LEGACY_SHOWN_BYTES:
                found[LEGACY_PAGE] = content
        up_to = self.entries[-1].seq if self.entries else 0
        found[CHANGELOG] = pages.main(counts, texts, up_to, self._before())
        return found

    def month(self, month: str) -> bytes:
        """The stream of YAML documents of one month, in the order of the journal."""
        return month_text(month, [one.block for one in self.entries if one.month == month])

    def _texts(self) -> dict[pages.Part, list[bytes]]:
        """The entries' texts by part, oldest first, those that were rolled back marked as such."""
        texts: dict[pages.Part, list[bytes]] = {}
        places: dict[str, tuple[list[bytes], int]] = {}
        counts: dict[str, int] = {}
        for one in self.entries:
            counts[one.month] = counts.get(one.month, 0) + 1
            part = texts.setdefault((one.month, pages.part_of(counts[one.month])), [])
            if one.rollback_of in places:
                undone, at = places[one.rollback_of]
                undone[at] = pages.marked(undone[at], one.operation_id, one.seq)
            if one.operation_id:
                places[one.operation_id] = (part, len(part))
            part.append(pages.chunk(one.seq, one.block))
        return texts

    def _before(self) -> bytes:
        """What the changelog ends with, if there was one before the ledger."""
        for name, content in self.legacy.items():
            if not name.endswith(".yaml"):
                long = f"The changelog as it was: [{LEGACY_PAGE}]({LEGACY_PAGE})\n".encode()
                kept = content if len(content) <= LEGACY_SHOWN_BYTES else long
                return pages.legacy_section(name, len(content), kept)
        return b""


def read(lines: Iterable[bytes]) -> Contents:
    """What ``lines`` of the journal hold for people.

    Raises:
        ValueError: if a line is none of a journal; ``ledger verify`` tells which and why.
    """
    contents = Contents()
    legacy_parts: dict[str, list[Mapping[str, Any]]] = {}
    for line in lines:
        shown = _quick(line)
        if shown:
            contents.entries.append(shown)
            continue
        record = parsed(line)
        shown = entry(record)
        if shown:
            contents.entries.append(shown)
        elif record["type"] == "legacy.imported":
            legacy_parts.setdefault(record["data"]["name"], []).append(record["data"])
    contents.legacy = {name: join(parts) for name, parts in legacy_parts.items()}
    return contents


def _quick(line: bytes) -> Entry | None:
    """What ``entry`` gives for the line's record, without parsing it; None if it must be parsed."""
    found = quick.show(line)
    if not found:
        return None
    operation_id = found.operation_id if ID.fullmatch(found.operation_id) else ""
    return Entry(found.seq, found.month, operation_id, found.rollback_of, found.block)


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
        block=emitter.block(fields.ordered(data)),
    )


def join(parts: Iterable[Mapping[str, Any]]) -> bytes:
    """The very bytes that were adopted in ``parts``."""
    return b"".join(
        base64.b64decode(part["base64"]) if "base64" in part else part["text"].encode()
        for part in sorted(parts, key=lambda part: int(part["part"]))
    )


def legacy(lines: Iterable[bytes]) -> dict[str, bytes]:
    """What was adopted, by the name of its file."""
    adopted = (line for line in lines if b'"legacy.imported"' in line)
    return read(adopted).legacy


def changelog(lines: Iterable[bytes]) -> bytes:
    """The changelog that ``lines`` give."""
    return read(lines).files()[CHANGELOG]


def month(lines: Iterable[bytes], month: str) -> bytes:
    """The YAML stream of one month (``2026-01``) that ``lines`` give."""
    return read(lines).month(month)


def files(lines: Iterable[bytes]) -> dict[str, bytes]:
    """Every projection that ``lines`` give, by name; see ``Contents.files``."""
    return read(lines).files()


def month_text(month: str, blocks: Iterable[str]) -> bytes:
    """The YAML stream of one month, from the blocks of its entries."""
    return "".join([_MONTH_HEAD.format(month=month), *blocks]).encode()


def legacy_name(name: str) -> str:
    """Where an adopted month file stands: beside ours, which takes its name."""
    return str(PurePosixPath(name).with_suffix(".legacy.yaml"))
