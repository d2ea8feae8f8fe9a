"""The only place where tests show a universe to P3.3's parts without a server."""

from __future__ import annotations

import json
from typing import Any, Self

from quantum_ops import logs, streams
from quantum_ops.clock import Clock
from quantum_ops.context import Context
from quantum_ops.universe import content_sha256, symbols_sha256
from tests.p33_stories import NOW, ROW


class Keys:
    """The universe's keys; a story changes ``meta``, ``active`` and ``rows`` as it likes.

    ``read`` counts how often the whole list was asked for.
    """

    def __init__(self, *symbols: str, at_s: int = int(NOW), epoch: int = 1) -> None:
        self.read = 0
        self._asked: list[str] = []
        self.publish(*symbols, at_s=at_s, epoch=epoch)

    def publish(self, *symbols: str, at_s: int = int(NOW), epoch: int = 1) -> None:
        """As the producer commits it at the epoch second ``at_s``."""
        listed = sorted(symbols)
        rows = {symbol: json.dumps(ROW) for symbol in listed}
        active = {"asof_epoch": at_s, "mode": "testnet", "symbols": listed}
        self.active: Any = json.dumps(active).encode()
        self.rows: Any = {symbol.encode(): row.encode() for symbol, row in rows.items()}
        meta = {
            "asof_epoch": at_s, "checked_epoch": at_s, "last_ok_epoch": at_s, "stale": 0,
            "count": len(listed), "epoch": epoch, "sha256": content_sha256(listed, rows),
            "symbols_sha256": symbols_sha256(listed), "mode": "testnet", "refresh_sec": 60,
            "error": "", "quarantined": 0,
        }  # fmt: skip
        self.meta: Any = {name.encode(): str(value).encode() for name, value in meta.items()}

    def check(self, at_s: int) -> None:
        """As the producer tells of a check that found nothing new."""
        self.meta |= dict.fromkeys((b"checked_epoch", b"last_ok_epoch"), b"%d" % at_s)

    def replies(self, news: Any = ()) -> list[Any]:
        """What the server says to one look: meta as HGETALL gives it, and ``news``."""
        meta = self.meta
        if isinstance(meta, dict):
            meta = [part for pair in meta.items() for part in pair]
        return [meta, list(news) if isinstance(news, tuple) else news]

    def context(self, settings: Any = None) -> Context:
        """A context whose only reads are those of the whole list."""
        return Context("p33", self, logs.get(), Clock(), settings)  # type: ignore[arg-type]

    def pipeline(self, *, transaction: bool) -> Keys:
        assert transaction, "a list that is read in parts can be torn"
        self._asked = []
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def get(self, key: str) -> None:
        self._asked.append(key)

    hgetall = get

    def execute(self, *, raise_on_error: bool) -> list[Any]:
        assert not raise_on_error
        self.read += 1
        held = {
            streams.UNIVERSE_ACTIVE: self.active,
            streams.UNIVERSE_META: self.meta,
            streams.UNIVERSE_SYMBOLS: self.rows,
        }
        return [held[key] for key in self._asked]
