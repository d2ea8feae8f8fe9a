"""The only place that reads archived entries as events for a rebuild, passing over what is none."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from quantum_ops.errors import DecodeError
from quantum_ops.events import AuditFinding, Event
from quantum_ops.history.entry import Entry
from quantum_ops.history.reader import Archive, from_ms
from quantum_ops.streams import AUDIT_FINDING, Stream


def decoded(entry: Entry) -> Event | None:
    """The event of an entry; None for bytes that no consumer could read either."""
    try:
        return entry.event()
    except (DecodeError, KeyError):
        return None


def told(
    archive: Archive, streams: Collection[Stream], since_ms: int = 0
) -> Iterator[tuple[Entry, Event]]:
    """The readable events of these streams since then, in the order of archiving."""
    for entry in archive.read({one.key for one in streams}, from_ms(max(0, since_ms))):
        event = decoded(entry)
        if event is not None:
            yield entry, event


def findings(archive: Archive, auditor: str, since_ms: int = 0) -> Iterator[AuditFinding]:
    """What ``auditor`` found since then."""
    for _, event in told(archive, [AUDIT_FINDING], since_ms):
        if isinstance(event, AuditFinding) and event.auditor == auditor:
            yield event
