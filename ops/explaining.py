"""The only place that gathers what a plan's story is told from: the archive, then the server.

What is archived is read there; of the server only what is newer. Either may be missing: the story
then says so, and tells what the other one has.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import walrus

from ops.target import open_db
from quantum_ops import client, streams
from quantum_ops.asof import universe
from quantum_ops.events import DeployCompleted, LedgerRecorded, PermitDecided, UniverseChanged
from quantum_ops.history import ahead, entry, naming, story
from quantum_ops.history.blocks import Key
from quantum_ops.history.folder import Folder
from quantum_ops.history.reader import Archive, from_ms, until_ms
from quantum_ops.history.search import Search
from quantum_ops.history.story import Around, Standing, Story, Told

PAGE = 1000
HOUR_MS = 3_600_000
RECORDED_MS = 600_000
"""How long after a deploy the ledger's word on it is looked for."""
SOON = (streams.APPLY_PLAN.key, streams.PERMIT_DECIDED.key, streams.APPLY_RESULT.key)
READ = (*naming.FIELD, streams.UNIVERSE_CHANGED.key, streams.DEPLOY_COMPLETED.key,
        streams.LEDGER_RECORDED.key)  # fmt: skip


@dataclass
class Sources:
    """Where entries come from; ``search`` is None without an archive, ``notes`` say what lacks.

    ``newer`` are the server's entries behind the last archived ones, that may matter, by stream.
    """

    search: Search | None
    newer: dict[str, list[Told]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def archive(self) -> Archive | None:
        """The archive, if there is one."""
        return self.search.archive if self.search else None

    def newest(self, stream: str, until: Key) -> Told | None:
        """The last entry up to ``until``."""
        late = [one for one in self.newer.get(stream, ()) if one.entry.key <= until]
        if late:
            return late[-1]
        found = self.archive.newest(stream, until) if self.archive else None
        return Told(found.entry, found.at) if found else None

    def between(self, stream: str, since: Key, until: Key) -> Iterator[Told]:
        """The entries from ``since`` to ``until``."""
        for one in self.archive.numbered({stream}, since, until) if self.archive else ():
            yield Told(one.entry, one.at)
        yield from (one for one in self.newer.get(stream, ()) if since <= one.entry.key <= until)

    def about(self, wanted: set[bytes]) -> list[Told]:
        """The entries about one of these."""
        found = naming.find(self.search, wanted) if self.search else []
        late = [one for key in naming.FIELD for one in self.newer.get(key, ())]
        told = [Told(one.entry, one.at) for one in found]
        return told + [one for one in late if naming.names(one.entry, wanted)]

    def of_epoch(self, epoch: int, until: Key) -> Told | None:
        """The universe of that epoch, the newest one up to ``until``."""
        for late in reversed(self.newer.get(streams.UNIVERSE_CHANGED.key, ())):
            event = story.decoded(late.entry)
            if isinstance(event, UniverseChanged) and event.epoch == epoch:
                return late
        found = universe.of_epoch(self.search, epoch, until) if self.search else None
        return Told(found[0].entry, found[0].at) if found else None


def open_sources(folder: Folder, plan_id: bytes) -> Sources:
    """The archive in ``folder``, and what the server has beyond it about ``plan_id``.

    Raises a transport error only if there is neither an archive nor a server.
    """
    archive = Archive(folder) if folder.names() else None
    found = Sources(Search(archive) if archive else None)
    if archive is None:
        found.notes.append(f"there is no archive in {folder.base}: only what Redis still has")
    try:
        db = open_db()
        for stream in READ:
            found.newer[stream] = list(_beyond(db, archive, stream, plan_id))
    except (*client.TRANSPORT_ERRORS, *client.SERVER_ERRORS) as error:
        if archive is None or client.is_refusal(error):
            raise
        found.newer.clear()
        found.notes.append(f"Redis does not answer ({error}): only what is archived is told")
    return found


def _beyond(
    db: walrus.Database, archive: Archive | None, stream: str, plan_id: bytes
) -> Iterator[Told]:
    """The server's entries behind the last archived one; of plans, only those about this one."""
    end = ahead.end(archive, stream, ahead.limit(int(time.time() * 1000))) if archive else None
    after = b"(%d-%d" % end if end else b"-"
    settled = stream == streams.AUDIT_FINDING.key
    while True:
        rows: list[Any] = client.raw(db, "XRANGE", stream, after, "+", "COUNT", PAGE)
        for id_, flat in rows:
            # Findings are kept: one may say that another one was settled.
            if settled or stream not in naming.FIELD or plan_id in flat:
                yield Told(entry.decode(entry.encode(stream, id_, flat)), None)
        if len(rows) < PAGE:
            return
        after = b"(" + rows[-1][0]


def explain(sources: Sources, plan_id: bytes) -> Story | None:
    """The story of ``plan_id``; None if nothing is known of it."""
    about = sources.about({plan_id})
    if not about:
        return None
    findings = {
        one.entry.id.encode() for one in about if one.entry.stream == streams.AUDIT_FINDING.key
    }
    if findings:
        about += sources.about(findings)  # that one was settled, and by whom
    soon = [one.entry.key for one in about if one.entry.stream in SOON]
    first, last = (min(soon), max(soon)) if soon else (about[0].entry.key, about[0].entry.key)
    deploys = _deploys(sources, first, last)
    around = Around(
        _universe(sources, about, first),
        _standing(sources, about, first),
        deploys,
        _operations(sources, deploys),
    )
    shown = plan_id.decode("utf-8", "backslashreplace")
    return story.tell(shown, _once(about), around)


def _once(about: list[Told]) -> list[Told]:
    known = {(one.entry.stream, one.entry.id, tuple(one.entry.flat)): one for one in about}
    return list(known.values())


def _universe(sources: Sources, about: list[Told], first: Key) -> Told | None:
    """The universe that the gate saw, by its own word; else the last one before the plan."""
    for one in about:
        event = story.decoded(one.entry)
        if isinstance(event, PermitDecided) and event.universe_epoch:
            found = sources.of_epoch(event.universe_epoch, one.entry.key)
            if found:
                return found
            sources.notes.append(
                f"the universe of epoch {event.universe_epoch}, which the gate saw, is not known; "
                "the last one before the plan is shown"
            )
            break
    return sources.newest(streams.UNIVERSE_CHANGED.key, first)


def _standing(sources: Sources, about: list[Told], first: Key) -> Standing | None:
    """How the universe stood when the plan came; None if the archive does not reach so far."""
    if sources.search is None or all(one.at is None for one in about):
        return None
    found = universe.standing(sources.search, first)
    if found is None:
        return None
    symbol = story.symbol_of(about)
    closing = bool(symbol) and universe.close_only(sources.search, symbol, first)
    told = Told(found.found.entry, found.found.at)
    return Standing(found.stale, found.reason, told, closing)


def _deploys(sources: Sources, first: Key, last: Key) -> list[Told]:
    """Deploys of the hour before the plan, and while it ran."""
    since = from_ms(max(0, first[0] - HOUR_MS))
    return list(sources.between(streams.DEPLOY_COMPLETED.key, since, last))


def _operations(sources: Sources, deploys: list[Told]) -> dict[str, tuple[str, Told]]:
    """Entry id of a deploy -> the ledger's operation id, and the entry that tells it."""
    if not deploys:
        return {}
    ids = {one.entry.id: one.entry.id for one in deploys}
    for one in deploys:
        event = story.decoded(one.entry)
        if isinstance(event, DeployCompleted) and event.event_id:
            ids[event.event_id] = one.entry.id
    until = until_ms(deploys[-1].entry.ms + RECORDED_MS)
    found = {}
    for one in sources.between(streams.LEDGER_RECORDED.key, deploys[0].entry.key, until):
        event = story.decoded(one.entry)
        if isinstance(event, LedgerRecorded) and event.source_id in ids and event.operation_id:
            found[ids[event.source_id]] = event.operation_id, one
    return found
