"""The only place that counts entries of streams by what they say: permits, Findings, restarts.

Counted from when the exporter started; a restart is a reset, which ``rate`` and ``increase``
understand. What is known beforehand begins at 0, or the first of its kind would be no increase.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import walrus
from prometheus_client.core import Metric

from ops.exporter import catalogue
from ops.exporter.catalogue import Measure
from quantum_ops import client, streams
from quantum_ops.entry_id import ZERO, parse
from quantum_ops.metrics import MAX_REASONS
from quantum_ops.p33.reasons import REASONS
from quantum_ops.streams import Stream

PAGE = 1000
PAGES = 20
"""Pages read for one scrape; what is left is read for the next."""
Labels = tuple[str, ...]
AUDITORS = (
    "archive", "ledger", "operator", "order_proof", "p33", "permit_audit", "positions", "runner",
    "universe", "universe_audit", "warden",
)  # fmt: skip
SEVERITIES = ("info", "warning", "critical")
OTHER = "other"
_ENDED = frozenset({"EXITED", "BACKOFF", "FATAL"})


class Tally:
    """Counts of one stream. ``label`` gives an entry's labels, None for one that does not count."""

    def __init__(
        self,
        db: walrus.Database,
        stream: Stream,
        measure: Measure,
        label: Callable[[Mapping[bytes, bytes]], Labels | None],
        known: Iterable[Labels] = (),
    ) -> None:
        self._db = db
        self._stream = stream
        self._measure = measure
        self._label = label
        self._counts: Counter[Labels] = Counter(dict.fromkeys(known, 0))
        self._room = len(self._counts) + MAX_REASONS
        self._after: bytes | None = None

    def read(self) -> list[Metric]:
        """Count what is new. Raises what the client raises; then it is counted the next time."""
        newest = self._newest()
        # A stream that began anew under a clock set back would look read for ever.
        if self._after is None or parse(newest) < parse(self._after):
            self._after = newest
        for _ in range(PAGES):
            rows = client.raw(
                self._db, "XRANGE", self._stream.key, b"(" + self._after, "+", "COUNT", PAGE
            )
            for id_, flat in rows:
                self._take(dict(zip(flat[::2], flat[1::2], strict=True)))
                self._after = id_
            if len(rows) < PAGE:
                break
        family = self._measure.family()
        for labels, count in sorted(self._counts.items()):
            family.add_metric(list(labels), count)  # type: ignore[attr-defined]  # a counter
        return [family]

    def _newest(self) -> bytes:
        rows = client.raw(self._db, "XREVRANGE", self._stream.key, "+", "-", "COUNT", 1)
        return bytes(rows[0][0]) if rows else self._after or ZERO

    def _take(self, fields: Mapping[bytes, bytes]) -> None:
        labels = self._label(fields)
        if labels is None:
            return
        if labels not in self._counts and len(self._counts) >= self._room:
            # Whoever writes the stream must not be able to grow the series without end.
            labels = (OTHER,) * len(labels)
        self._counts[labels] += 1


def permits(db: walrus.Database) -> Tally:
    """Plans decided, by gate, verdict and reason."""
    codes = {code: told for code, (told, _) in REASONS.items() if told != "no permit"}
    known = [("p33", "allow" if told == "allow" else "deny", code) for code, told in codes.items()]

    def label(fields: Mapping[bytes, bytes]) -> Labels | None:
        verdict = "allow" if fields.get(b"allow") == b"true" else "deny"
        reason = text(fields, b"reason")
        return text(fields, b"gate"), verdict, reason if reason in codes else OTHER

    return Tally(db, streams.PERMIT_DECIDED, catalogue.PERMITS, label, known)


def findings(db: walrus.Database) -> Tally:
    """Findings, by auditor and severity."""

    def label(fields: Mapping[bytes, bytes]) -> Labels | None:
        severity = text(fields, b"severity")
        return text(fields, b"auditor"), severity if severity in SEVERITIES else OTHER

    known = [(auditor, severity) for auditor in AUDITORS for severity in SEVERITIES]
    return Tally(db, streams.AUDIT_FINDING, catalogue.FINDINGS, label, known)


def restarts(db: walrus.Database, programs: Iterable[str] = ()) -> Tally:
    """Processes that came up again by themselves, by program; ``programs`` are known."""

    def label(fields: Mapping[bytes, bytes]) -> Labels | None:
        again = text(fields, b"to_state") == "STARTING" and text(fields, b"from_state") in _ENDED
        return (text(fields, b"program"),) if again else None

    return Tally(db, streams.OPS_PROCESS, catalogue.RESTARTS, label, [(one,) for one in programs])


def text(fields: Mapping[bytes, bytes], name: bytes) -> str:
    """A field as a label; a missing or overlong one is ``other``."""
    raw: Any = fields.get(name, b"")
    return raw.decode("utf-8", "replace") if 0 < len(raw) <= 64 else OTHER  # noqa: PLR2004 - a code is short
