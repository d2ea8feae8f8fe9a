"""The only place that puts entries into files: a pure function from the journal's lines to bytes.

Nothing but the lines decides: no clock, no host, no locale, no file that is there already. The same
lines give the same bytes, and any prefix of them gives what was rendered when it was the journal.
The lines go by twice, and a file is given as soon as no later line touches it: what is held at a
time is a month or two, however long the journal is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from quantum_ops.ledger import pages, quick, render
from quantum_ops.ledger.quick import Entry

Blocks = Callable[[], Iterable[bytes]]
"""Gives the journal's lines from the first one on, some at a time, each with its LF."""

_OCCURRED = b'"occurred_at":"'
_UNDOES = b'"rollback_of":'
_MONTH = re.compile(rb"[0-9]{4}-[0-9]{2}")


def files(lines: Sequence[bytes], *, every_page: bool = False) -> dict[str, bytes]:
    """Every projection that ``lines`` (without their LF) give, by name; see ``Sheets``."""
    block = b"".join(one + b"\n" for one in lines)
    return dict(Sheets(lambda: [block], every_page=every_page).each())


def changelog(lines: Sequence[bytes]) -> bytes:
    """The changelog that ``lines`` give."""
    return files(lines)[render.CHANGELOG]


class Sheets:
    """Every projection of the lines in ``blocks``.

    ``OPS_CHANGELOG.md``, which is the last, and names below ``OPS_CHANGELOG/`` belong beside the
    changelog, all others into the ledger's folder. ``every_page`` adds the pages of parts that the
    changelog shows itself.
    """

    def __init__(self, blocks: Blocks, *, every_page: bool = False) -> None:
        self._blocks = blocks
        self._every_page = every_page
        self.counts: dict[str, int] = {}
        """The number of entries in each month, once all was given."""

    def each(self) -> Iterator[tuple[str, bytes]]:
        """Name and content of each; of a name that comes twice, the second counts.

        Raises:
            ValueError: if a line is none of a journal; ``ledger verify`` tells which and why.
        """
        ahead: _Ahead | None = _Ahead.of(self._blocks)
        while True:
            made = _Made(ahead, every_page=self._every_page)
            try:
                yield from made.fill(self._blocks)
            except _UnforeseenError:
                # A line that no program of ours wrote. Looking ahead saves room, decides nothing.
                ahead = None
            else:
                self.counts = made.counts()
                return


class _UnforeseenError(Exception):
    """A line touches what was thought to be finished."""


@dataclass(frozen=True)
class _Ahead:
    """What has to be known of later lines.

    The last block with entries of a month, and how often an operation is rolled back.
    """

    last: dict[str, int]
    undone: Counter[str]

    @classmethod
    def of(cls, blocks: Blocks) -> _Ahead:
        last: dict[bytes, int] = {}
        undone: Counter[str] = Counter()
        for number, block in enumerate(blocks()):
            at = block.find(_OCCURRED)
            while at >= 0:
                at += len(_OCCURRED)
                last[block[at : at + 7]] = number
                at = block.find(_OCCURRED, at)
            if _UNDOES in block:
                found = (render.show(line) for line in block.split(b"\n") if _UNDOES in line)
                undone.update(one.rollback_of for one in found if one and one.rollback_of)
        months = {one.decode(): at for one, at in last.items() if _MONTH.fullmatch(one)}
        return cls(months, undone)


@dataclass(slots=True)
class _Part:
    """The entries of one part: numbers of the records, blocks, and texts that were marked."""

    seqs: list[int] = field(default_factory=list)
    blocks: list[bytes] = field(default_factory=list)
    marked: dict[int, bytes] = field(default_factory=dict)

    def mark(self, at: int, by: Entry) -> None:
        text = self.marked.get(at) or pages.chunk(self.seqs[at], self.blocks[at])
        self.marked[at] = pages.marked(text, by.operation_id, by.seq)

    def texts(self) -> list[bytes]:
        """What stands in the changelog or a page, oldest first."""
        found = [*map(pages.chunk, self.seqs, self.blocks)]
        for at, text in self.marked.items():
            found[at] = text
        return found


@dataclass(slots=True)
class _Month:
    """What is held of one month: the blocks of its stream, and its parts by number."""

    count: int = 0
    blocks: list[bytes] = field(default_factory=list)
    parts: dict[int, _Part] = field(default_factory=dict)
    part: _Part = field(default_factory=_Part)
    """The one that the newest entry stands in."""

    told: bool = False
    """Whether its stream was given."""


class _Made:
    """The files, while the lines go by; without ``ahead`` all are held to the end."""

    def __init__(self, ahead: _Ahead | None, *, every_page: bool) -> None:
        self.ahead = ahead
        self.every_page = every_page
        self.months: dict[str, _Month] = {}
        self.undone = Counter(ahead.undone) if ahead else Counter[str]()
        self.places: dict[str, tuple[pages.Part, int]] = {}
        """Where the newest operation of an id stands, of those that are rolled back later on."""
        self.legacy: dict[str, list[Mapping[str, Any]]] = {}
        self.up_to = 0

    def fill(self, blocks: Blocks) -> Iterator[tuple[str, bytes]]:
        """Take all lines; give each file once it is finished, the changelog at the end."""
        for number, block in enumerate(blocks()):
            self._take(block.split(b"\n")[:-1])
            if self.ahead:
                yield from self._finished(number, self.ahead)
        yield from self._rest()

    def _parsed(self, line: bytes) -> Entry | None:
        record = render.parsed(line)
        if record["type"] == "legacy.imported":
            self.legacy.setdefault(record["data"]["name"], []).append(record["data"])
        return render.entry(record)

    def _take(self, lines: Sequence[bytes]) -> None:
        show, part_size, undone = quick.show, pages.PART, self.undone
        latest, month = "", _Month()
        for line in lines:
            entry = show(line) or self._parsed(line)
            if not entry:
                continue
            seq, name, operation_id, rollback_of, block = entry
            if name != latest:
                latest, month = name, self.months.setdefault(name, _Month())
                if month.told:
                    raise _UnforeseenError
            if rollback_of:
                self._mark(entry)
            if not month.count % part_size:
                month.part = month.parts[pages.part_of(month.count + 1)] = _Part()
            month.count += 1
            if operation_id and (operation_id in undone or not self.ahead):
                place = ((name, pages.part_of(month.count)), len(month.part.seqs))
                self.places[operation_id] = place
            month.part.seqs.append(seq)
            month.part.blocks.append(block)
            month.blocks.append(block)
            self.up_to = seq

    def _mark(self, entry: Entry) -> None:
        """Say on the operation that was rolled back by which it was."""
        if self.ahead and self.undone[entry.rollback_of] <= 0:
            raise _UnforeseenError
        self.undone[entry.rollback_of] -= 1
        if entry.rollback_of in self.places:
            (name, number), at = self.places[entry.rollback_of]
            self.months[name].parts[number].mark(at, entry)

    def counts(self) -> dict[str, int]:
        return {name: month.count for name, month in self.months.items()}

    def _finished(self, block: int, ahead: _Ahead) -> Iterator[tuple[str, bytes]]:
        """What no line after this block touches, and is held no longer."""
        # A part that has left the changelog never comes back to it.
        kept = {*pages.shown(self.counts())}
        kept |= {part for one, (part, _) in self.places.items() if self.undone[one] > 0}
        for name, month in self.months.items():
            over = ahead.last.get(name, block + 1) <= block
            for number in [*month.parts]:
                part = month.parts[number]
                if (over or len(part.seqs) == pages.PART) and (name, number) not in kept:
                    yield pages.name((name, number)), pages.page((name, number), part.texts())
                    del month.parts[number]
            if over and not month.told:
                yield f"{name}.yaml", render.month_text(name, month.blocks)
                month.told, month.blocks, month.part = True, [], _Part()

    def _rest(self) -> Iterator[tuple[str, bytes]]:
        counts = self.counts()
        shown = pages.shown(counts)
        texts = {
            (name, number): part.texts()
            for name, month in self.months.items()
            for number, part in month.parts.items()
        }
        for part, text in texts.items():
            if self.every_page or part not in shown:
                yield pages.name(part), pages.page(part, text)
        for name, month in self.months.items():
            if not month.told:
                yield f"{name}.yaml", render.month_text(name, month.blocks)
        before = b""
        for name, parts in self.legacy.items():
            content = render.join(parts)
            if name.endswith(".yaml"):
                yield render.legacy_name(name), content
                continue
            if len(content) > render.LEGACY_SHOWN_BYTES:
                yield render.LEGACY_PAGE, content
            before = before or render.before(name, content)
        yield render.CHANGELOG, pages.main(counts, texts, self.up_to, before)
