"""The only place that tells Prometheus of the universe, and which one the gates use."""

from __future__ import annotations

import time
from typing import Any

import walrus
from prometheus_client.core import Metric

from ops.exporter import catalogue
from quantum_ops import host, streams
from quantum_ops.audit.readers import MAX_PROCESSES
from quantum_ops.universe import load_universe

GATE = "p33"
SOURCES = ("universe", "fallback")
_UNTOLD = frozenset({"missing", "unreadable"})
"""Verdicts that come without figures; 0 symbols would be a lie."""


class Universe:
    """Reads the published universe and judges it as a gate does."""

    def __init__(self, db: walrus.Database) -> None:
        self._db = db

    def read(self) -> list[Metric]:
        """Raises what the client raises."""
        universe = load_universe(self._db, now_s=time.time())
        told = [catalogue.UNIVERSE_STALE.of(float(universe.status != "fresh"))]
        if universe.code not in _UNTOLD:
            told += [
                catalogue.UNIVERSE_AGE.of(universe.age_s),
                catalogue.UNIVERSE_REFRESH.of(universe.refresh_s),
                catalogue.UNIVERSE_SYMBOLS.of(len(universe.symbols)),
                catalogue.UNIVERSE_QUARANTINED.of(universe.quarantined),
                catalogue.UNIVERSE_EPOCH.of(universe.epoch),
            ]
        return told


class Gates:
    """Reads from the heartbeats of P3.3's processes which allowlist each of them uses."""

    def __init__(self, db: walrus.Database) -> None:
        self._db = db

    def read(self) -> list[Metric]:
        """Raises what the client raises. A process without a heartbeat is left out."""
        source, symbols = catalogue.ALLOWLIST.family(), catalogue.ALLOWLIST_SYMBOLS.family()
        epoch = catalogue.ALLOWLIST_EPOCH.family()
        for process, beat in heartbeats(self._db, GATE, MAX_PROCESSES).items():
            told = beat.get("allowlist_source")
            if told is None:
                continue
            for one in SOURCES:
                source.add_metric([process, one], float(one == told))  # type: ignore[attr-defined]  # gauges
            for family, name in ((symbols, "allowlist_count"), (epoch, "universe_epoch")):
                value = number(beat, name)
                if value is not None:
                    family.add_metric([process], value)  # type: ignore[attr-defined]
        return [source, symbols, epoch]


def heartbeats(db: walrus.Database, program: str, count: int) -> dict[str, dict[str, str]]:
    """Process name -> heartbeat, of the first ``count`` processes of ``program`` that have one."""
    with db.pipeline(transaction=False) as pipe:
        for at in range(count):
            pipe.hgetall(streams.heartbeat(program, host.token(at)))
        replies: list[Any] = pipe.execute(raise_on_error=False)
    return {
        f"{program}-{at:02d}": {
            key.decode("utf-8", "replace"): value.decode("utf-8", "replace")
            for key, value in reply.items()
        }
        for at, reply in enumerate(replies)
        if isinstance(reply, dict) and reply
    }


def number(beat: dict[str, str], name: str) -> float | None:
    """A whole number of a heartbeat; None if it is none."""
    text = beat.get(name, "")
    return float(text) if text.isascii() and text.isdecimal() else None
