"""The only place that makes the universe's keys again, and what its auditor knew of it.

What comes back is the last universe that was told of, flagged stale: gates fall back or deny until
the producer has fetched once. Attributes stand in no event; that fetch writes them, too.
"""

from __future__ import annotations

import json

from quantum_ops import streams
from quantum_ops.events import UniverseChanged
from quantum_ops.history.entry import Entry
from quantum_ops.history.reader import Archive
from quantum_ops.recovery import facts
from quantum_ops.recovery.keyspace import Keyspace
from quantum_ops.universe import active_json

AUDITOR = "universe_audit"
CHURN = "universe_churn"
REASON = "restored from the archive: last known until the first good fetch"


def rebuild(archive: Archive) -> Keyspace:
    """active, last_ok and meta of the last archived universe; nothing if there is none."""
    keys = Keyspace()
    found = archive.newest(streams.UNIVERSE_CHANGED.key)
    event = facts.decoded(found.entry) if found else None
    if not isinstance(event, UniverseChanged):
        return keys
    document = active_json(list(event.symbols), event.mode, event.asof_epoch)
    keys.set(streams.UNIVERSE_ACTIVE, document)
    keys.set(streams.UNIVERSE_LAST_OK, document)
    moment = str(event.asof_epoch)
    meta = {
        "asof_epoch": moment,
        "checked_epoch": moment,
        "last_ok_epoch": moment,
        "changed_epoch": moment,
        "count": str(event.count),
        "epoch": str(event.epoch),
        "sha256": event.sha256,
        "symbols_sha256": event.symbols_sha256,
        "stale": "1",
        "error": REASON,
        "mode": event.mode,
        "quarantined": str(len(event.quarantined)),
    }
    keys.hset(streams.UNIVERSE_META, meta)
    return keys


def audited(archive: Archive) -> tuple[Keyspace, str]:
    """What universe_audit had judged last, and the id of that entry ("" if none was)."""
    keys, reported = Keyspace(), ""
    judged: dict[str, str] = {}
    for finding in facts.findings(archive, AUDITOR):
        if finding.finding == CHURN:
            reported = max(reported, finding.subject)
        elif len(finding.evidence) > 1:
            judged[finding.evidence[0]] = finding.evidence[1]
    if reported:
        keys.set(streams.UNIVERSE_AUDIT_CHURN, reported)
    last: tuple[Entry, UniverseChanged] | None = None
    for entry, event in facts.told(archive, [streams.UNIVERSE_CHANGED]):
        # Both ids: a Finding on a second fetch names an entry of another stream.
        if isinstance(event, UniverseChanged) and judged.get(entry.id) == event.event_id:
            last = (entry, event)
    if last is None:
        return keys, ""
    entry, event = last
    symbols = json.dumps(event.symbols)
    known = {"epoch": event.epoch, "sha256": event.sha256, "symbols": symbols}
    keys.hset(streams.UNIVERSE_AUDITED, known)
    return keys, entry.id
