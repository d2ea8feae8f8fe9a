"""The only place where tests lose a server's data and have it back: archive it, plan, restore."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from quantum_ops import client, consumer, streams
from quantum_ops.history.folder import Folder
from quantum_ops.history.reader import Archive
from quantum_ops.recovery import plan as plans
from quantum_ops.recovery import restore
from quantum_ops.settings import OrderProofSettings, PermitAuditSettings, PositionLedgerSettings
from tests.archive_rig import writing

CONSUMERS = [consumer.find("consumers", name) for name in consumer.names("consumers")]


def archive_all(db, base: Path) -> Archive:
    """Everything that stands in the streams now, archived; what is there already is recognised."""
    with writing(base) as made:
        for stream in streams.CATALOGUE:
            for id_, flat in client.raw(db, "XRANGE", stream.key, "-", "+"):
                made.add(stream.key, id_, flat)
        made.commit()
        made.checkpoint()
    return Archive(Folder(base))


def contents(db) -> dict[str, list[Any]]:
    """Every stream of the catalogue, byte for byte, but for the Finding that tells of a restore."""
    return {
        stream.key: [
            row
            for row in client.raw(db, "XRANGE", stream.key, "-", "+")
            if restore.FINDING.encode() not in row[1]
        ]
        for stream in streams.CATALOGUE
    }


def keys(db, *beginnings: str) -> dict[str, Any]:
    """Keys that begin so, with their values; times to live left out."""
    found = {}
    for beginning in beginnings:
        for raw in sorted(db.scan_iter(match=beginning + "*")):
            kind = db.type(raw)
            key = raw.decode("utf-8", "surrogateescape")
            if kind == b"string":
                found[key] = db.get(raw)
            elif kind == b"hash":
                found[key] = db.hgetall(raw)
            elif kind == b"zset":
                found[key] = dict(db.zrange(raw, 0, -1, withscores=True))
    return found


def planned(db, archive: Archive, now_ms: int | None = None, **wishes: Any) -> plans.Plan:
    """The plan, with every consumer there is; the trading side's streams included."""
    return plans.make(
        archive,
        db,
        CONSUMERS,
        plans.Wishes(**{"trading": True, **wishes}),
        now_ms or int(time.time() * 1000),
        settings=plans.Kept(OrderProofSettings(), PermitAuditSettings(), PositionLedgerSettings()),
    )


def restored(db, archive: Archive, **wishes: Any) -> restore.Done:
    """Plan it and do it."""
    return restore.carry_out(planned(db, archive, **wishes), archive, db, "a test")


def positions(db) -> dict[tuple[str, str], tuple[str, int, int]]:
    """(stream, group) -> last delivered id, entries read, pending."""
    found = {}
    for stream in streams.CATALOGUE:
        for info in db.xinfo_groups(stream.key) if db.exists(stream.key) else ():
            at = (stream.name, info["name"].decode("utf-8", "surrogateescape"))
            last = info["last-delivered-id"].decode()
            found[at] = (last, info["entries-read"], info["pending"])
    return found
