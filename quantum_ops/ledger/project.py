"""The only place that brings the rendered files up to the journal.

What was appended since the last time is put into the text that is there already: the changelog,
the month's stream, now and then a page. That gives the bytes that rendering everything would give;
wherever it might not (a lost cache, a changed file, a kill in between), everything is rendered.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from quantum_ops.ledger import adopt, drift, pages, render, sheets, tail
from quantum_ops.ledger.aside import Allowed, at_once
from quantum_ops.ledger.drift import Drift, Files
from quantum_ops.ledger.folder import Folder
from quantum_ops.ledger.journal import Journal
from quantum_ops.ledger.quick import Entry

_PLACE = "place.json"


class _RenderAllError(Exception):
    """What is there cannot be continued."""


def project(folder: Folder) -> list[Drift]:
    """Render what the journal holds; gives the files that somebody else changed.

    Call it under the journal's lock and after its sync. When it returns, the files MUST be durable,
    and each MUST be the one that the whole journal renders, except for those named as drift.

    Raises:
        OSError: if a file cannot be written; those before it are complete, and it may be repeated.
        ValueError: if the journal holds a line that is none.
    """
    files = Files(folder)
    try:
        return _Update(files).run()
    except _RenderAllError:
        return rebuild(folder)


def rebuild(folder: Folder, allowed: Allowed = at_once) -> list[Drift]:
    """Render everything anew, whatever is remembered; gives and raises the same as ``project``.

    With an empty journal a hand-written file stays what it is: the first entry adopts it. Until
    ``allowed`` returns, nothing is written.
    """
    files = Files(folder, allowed)
    journal = tail.Snapshot.take(folder)
    place = journal.place()
    up_to = next(filter(None, map(_seq, Journal(folder).backwards())), 0)
    by_hand = _by_hand(files, place)
    found: dict[str, Drift | None] = {}
    made = sheets.Sheets(journal.blocks)
    for name, content in made.each():
        if name not in by_hand:
            found[name] = files.put(name, content, up_to, _is_ours(journal, name, content))
    allowed()
    _remember(files, place, made.counts, up_to)
    return [one for one in found.values() if one]


def check(folder: Folder) -> list[str]:
    """What is not byte for byte as the journal renders it, a line for each; changes nothing."""
    files = Files(folder)
    journal = tail.Snapshot.take(folder)
    by_hand = _by_hand(files, journal.place())
    told = {}
    known = {files.path(name) for name in by_hand}
    for name, content in sheets.Sheets(journal.blocks).each():
        path = files.path(name)
        known.add(path)
        told[path] = "" if name in by_hand else _compared(path, content)
    there = [
        *(folder.changelog.parent / pages.FOLDER).glob("*.md"),
        *folder.base.glob("[0-9][0-9][0-9][0-9]-[0-9][0-9].yaml"),
    ]
    return [f"{path} {problem}" for path, problem in told.items() if problem] + [
        f"{path} is nothing that the journal renders"
        for path in sorted(there)
        if path.resolve() not in known
    ]


def _compared(path: Path, content: bytes) -> str:
    """What is wrong with the file that should hold ``content``; empty if nothing is."""
    try:
        same = path.read_bytes() == content
    except FileNotFoundError:
        return "is missing"
    return "" if same else "is not what the journal renders"


def _by_hand(files: Files, place: tail.Place) -> set[str]:
    """The files that the first entry will adopt: nobody renders over them, and they are no drift.

    What an earlier journal rendered is none of them: then the journal is lost, and that is told.
    """
    if place.segment:
        return set()
    names = {str(one["name"]) for one in adopt.pending(files.folder)}
    return {name for name in names if pages.up_to(files.path(name).read_bytes()) is None}


def _is_ours(journal: tail.Snapshot, name: str, content: bytes) -> Callable[[bytes], bool]:
    """Whether an earlier state of the journal rendered this, or a kill cut our writing short."""

    @cache
    def older(seq: int) -> bytes | None:
        # Record `seq` last touched the page; it may have been in the changelog still back then.
        lines = itertools.takewhile(lambda line: _seq(line) <= seq, journal.lines())
        return sheets.files([*lines], every_page=True).get(name)

    @cache
    def adopted() -> bytes | None:
        return render.legacy(journal.lines()).get(name)

    def asked(found: bytes) -> bool:
        if found == adopted():
            return True
        if name.endswith(".yaml"):
            return content.startswith(found)
        seq = pages.up_to(found)
        return seq is not None and older(seq) == found

    return asked


def _seq(line: bytes) -> int:
    """The number of an entry's record; 0 if the line is none."""
    entry = render.show(line)
    return entry.seq if entry else 0


def _remember(files: Files, place: tail.Place, counts: dict[str, int], up_to: int) -> None:
    known = {"segment": place.segment, "offset": place.offset, "last": place.last}
    drift.save(files.cache / _PLACE, {**known, "counts": counts, "up_to": up_to})


class _Update:
    """One update of the files by what was appended since the last."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self.drifts: list[Drift | None] = []
        known = drift.load(files.cache / _PLACE)
        try:
            place = tail.Place(str(known["segment"]), int(known["offset"]), str(known["last"]))
            self.counts = {str(month): int(count) for month, count in known["counts"].items()}
            self.since = self.up_to = int(known["up_to"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _RenderAllError from error
        found = tail.after(files.folder, place)
        text = files.rendered(render.CHANGELOG)
        if found is None or text is None or pages.up_to(text) != self.up_to:
            raise _RenderAllError
        self.lines, self.place = found
        self.inside, self.legacy = self._split(text)
        self.pages: dict[pages.Part, list[bytes]] = {}
        self.months: dict[str, list[bytes]] = {}

    def run(self) -> list[Drift]:
        """Take in the new lines and write the files that they change."""
        for line in self.lines:
            record = render.parsed(line)
            entry = render.entry(record)
            if record["type"] == "legacy.imported":
                raise _RenderAllError
            if entry:
                self._take(entry)
        shown = pages.shown(self.counts)
        leaving = {part: text for part, text in self.inside.items() if part not in shown}
        # Pages first: a link in the changelog never leads to one that is not there yet.
        for part, entries in {**leaving, **self.pages}.items():
            self._put(pages.name(part), pages.page(part, entries))
        for month, blocks in self.months.items():
            self._extend(month, blocks)
        text = pages.main(self.counts, self.inside, self.up_to, self.legacy)
        self._put(render.CHANGELOG, text)
        _remember(self.files, self.place, self.counts, self.up_to)
        return [one for one in self.drifts if one]

    def _split(self, text: bytes) -> tuple[dict[pages.Part, list[bytes]], bytes]:
        """The entries that the changelog shows by part, oldest first, and what stood before it."""
        entries, legacy = pages.split(text)
        shown = pages.shown(self.counts)
        if len(entries) != sum(shown.values()):
            raise _RenderAllError
        found = {}
        for part, size in shown.items():
            found[part] = entries[size - 1 :: -1] if size else []
            entries = entries[size:]
        return found, legacy

    def _take(self, entry: Entry) -> None:
        if entry.rollback_of:
            self._mark(entry)
        number = self.counts[entry.month] = self.counts.get(entry.month, 0) + 1
        part = (entry.month, pages.part_of(number))
        if number % pages.PART == 1:
            self.inside[part] = []
        self._entries(part).append(pages.chunk(entry.seq, entry.block))
        self.months.setdefault(entry.month, []).append(entry.block)
        self.up_to = entry.seq

    def _entries(self, part: pages.Part) -> list[bytes]:
        """The entries of a part, to be changed: from the changelog, else from the part's page."""
        if part in self.inside:
            return self.inside[part]
        if part not in self.pages:
            self.pages[part] = self._page(part)
        return self.pages[part]

    def _page(self, part: pages.Part) -> list[bytes]:
        text = self.files.rendered(pages.name(part))
        # A page that knows more is of an update that was killed before the changelog was written.
        if text is None or (pages.up_to(text) or 0) > self.since:
            raise _RenderAllError
        return pages.split(text)[0][::-1]

    def _mark(self, entry: Entry) -> None:
        """Say on the operation that was rolled back by which it was."""
        for part, _ in pages.parts(self.counts):
            inside = part in self.inside or part in self.pages
            if not inside and part[0] != entry.rollback_of[4:11]:
                continue
            entries = self._entries(part) if inside else self._page(part)
            for at, text in enumerate(entries):
                if pages.is_of(text, entry.rollback_of):
                    self._entries(part)[at] = pages.marked(text, entry.operation_id, entry.seq)
                    return
        # An operation of before the ledger cannot be marked: its text is kept as it was. Whether it
        # is one takes all lines to know.
        raise _RenderAllError

    def _put(self, name: str, content: bytes) -> None:
        def ask_all(_found: bytes) -> bool:
            raise _RenderAllError

        self.drifts.append(self.files.put(name, content, self.up_to, ask_all))

    def _extend(self, month: str, blocks: Sequence[bytes]) -> None:
        name = f"{month}.yaml"
        if self.counts[month] == len(blocks):
            self._put(name, render.month_text(month, blocks))
            return
        done, found = self.files.extend(name, b"".join(blocks), self.since, self.up_to)
        if not done:
            raise _RenderAllError
        self.drifts.append(found)
