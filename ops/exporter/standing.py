"""The only place that counts what is open and waits for a person: dead letters and violations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import walrus
from prometheus_client.core import Metric

from ops.exporter import catalogue
from ops.exporter.catalogue import Measure
from ops.exporter.tally import OTHER
from quantum_ops import client, codec, dead_letter, streams
from quantum_ops.entry_id import ZERO, parse
from quantum_ops.errors import DecodeError
from quantum_ops.events import AuditFinding
from quantum_ops.metrics import MAX_REASONS
from quantum_ops.streams import Stream

PAGE, PAGES = 100, 500
"""Entries of a page, few because a dead letter may have 256 KiB; pages for one scrape."""
MOST = 10_000
"""Open ones that are followed; more than that are counted as that many."""
Labels = tuple[str, ...]


class Standing:
    """The entries of one stream that nobody has settled.

    Read once from its beginning, then only what is new; whether one is settled is asked each time.
    ``label`` gives an entry's labels, None if it is none that must be settled.
    """

    def __init__(
        self,
        db: walrus.Database,
        stream: Stream,
        settled_key: str,
        measure: Measure,
        label: Callable[[bytes, list[bytes]], Labels | None],
    ) -> None:
        self._db = db
        self._stream = stream
        self._settled_key = settled_key
        self._measure = measure
        self._label = label
        self._open: dict[bytes, Labels] = {}
        self._after = ZERO

    def read(self) -> list[Metric]:
        """Raises what the client raises. Nothing is told before all of the stream is read."""
        first, newest = self._ends()
        if newest is None or parse(newest) < parse(self._after):
            self._open, self._after = {}, ZERO  # another stream by now
        if newest is not None and not self._catch_up():
            return []
        self._drop_settled(first)
        family = self._measure.family()
        counts: Counter[Labels] = Counter()
        for labels in self._open.values():
            # Whoever writes the stream must not be able to grow the series without end.
            known = labels in counts or len(counts) < MAX_REASONS
            counts[labels if known else (OTHER,) * len(labels)] += 1
        for labels, count in sorted(counts.items()):
            family.add_metric(list(labels), count)  # type: ignore[attr-defined]  # a gauge
        return [family]

    def _ends(self) -> tuple[bytes | None, bytes | None]:
        ends = []
        for command, start, end in (("XRANGE", "-", "+"), ("XREVRANGE", "+", "-")):
            rows = client.raw(self._db, command, self._stream.key, start, end, "COUNT", 1)
            ends.append(bytes(rows[0][0]) if rows else None)
        return ends[0], ends[1]

    def _catch_up(self) -> bool:
        """Read what is new; False if more is left than one scrape may take."""
        for _ in range(PAGES):
            rows = client.raw(
                self._db, "XRANGE", self._stream.key, b"(" + self._after, "+", "COUNT", PAGE
            )
            for id_, flat in rows:
                self._after = id_
                labels = self._label(id_, flat)
                if labels is not None and len(self._open) < MOST:
                    self._open[id_] = labels
            if len(rows) < PAGE:
                return True
        return False

    def _drop_settled(self, first: bytes | None) -> None:
        ids = list(self._open)
        if not ids:
            return
        notes = self._db.hmget(self._settled_key, ids)
        oldest = parse(first) if first is not None else None
        for id_, note in zip(ids, notes, strict=True):
            # Trimmed away, it can be neither shown nor settled any more.
            if note or oldest is None or parse(id_) < oldest:
                del self._open[id_]


def dead_letters(db: walrus.Database) -> Standing:
    """What `./run dlq list` shows."""

    def label(id_: bytes, flat: list[bytes]) -> Labels | None:
        stored = dead_letter.read(id_, flat, None)
        return (stored.letter.group[:64], stored.letter.reason[:64]) if stored else None

    return Standing(db, streams.DEAD_LETTER, streams.DEAD_LETTER_RESOLVED, catalogue.LETTERS, label)


def violations(db: walrus.Database) -> Standing:
    """What `./run audit` names."""
    decode = codec.decoder(AuditFinding)

    def label(_id: bytes, flat: list[bytes]) -> Labels | None:
        try:
            finding = decode(flat)
        except DecodeError:
            return None
        return (finding.auditor[:64],) if finding.severity == "critical" else None

    return Standing(
        db, streams.AUDIT_FINDING, streams.FINDINGS_SETTLED, catalogue.VIOLATIONS, label
    )
