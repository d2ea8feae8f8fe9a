"""The only place that tells Prometheus how far consumer groups are behind."""

from __future__ import annotations

from collections.abc import Iterable

import walrus
from prometheus_client.core import Metric

from ops.exporter import catalogue
from quantum_ops import lag_reading, streams


class Groups:
    """Reads lag and pending of every group of every stream; at most ``count`` entries of each.

    Of the ``expected`` ones (stream key, group) a missing one is told as unknown.
    """

    def __init__(
        self, db: walrus.Database, count: int, expected: Iterable[tuple[str, str]] = ()
    ) -> None:
        self._db = db
        self._count = count
        self._expected = tuple(expected)

    def read(self) -> list[Metric]:
        """Raises what the client raises. What is unknown is left out."""
        entries, exact = catalogue.LAG.family(), catalogue.LAG_EXACT.family()
        seconds, pending = catalogue.LAG_SECONDS.family(), catalogue.PENDING.family()
        age = catalogue.PENDING_AGE.family()
        for one in lag_reading.look(self._db, limit=self._count, expected=self._expected):
            labels = [streams.short(one.stream), one.group]
            sure = one.exactness in {"exact", "counted"}
            exact.add_metric(labels, float(sure))  # type: ignore[attr-defined]  # gauges, all of them
            if one.entries is not None:
                entries.add_metric(labels, one.entries)  # type: ignore[attr-defined]
            if one.seconds is not None:
                seconds.add_metric(labels, one.seconds)  # type: ignore[attr-defined]
            pending.add_metric(labels, one.pending)  # type: ignore[attr-defined]
            age.add_metric(labels, one.pending_s or 0.0)  # type: ignore[attr-defined]
        return [entries, exact, seconds, pending, age, self._lengths()]

    def _lengths(self) -> Metric:
        with self._db.pipeline(transaction=False) as pipe:
            for stream in streams.CATALOGUE:
                pipe.xlen(stream.key)
            found = pipe.execute(raise_on_error=False)
        lengths = catalogue.STREAM_LENGTH.family()
        for stream, length in zip(streams.CATALOGUE, found, strict=True):
            if isinstance(length, int):
                lengths.add_metric([stream.name], length)  # type: ignore[attr-defined]
        return lengths
