"""The only place that compares what the exchange shows with what is published. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from producers.exchange_info import Snapshot
from quantum_ops.events import UniverseChecked
from quantum_ops.universe import judge, symbols_sha256

NAME = "universe_check"
MAX_NAMED = 1000
"""Differing symbols of each kind that an event names: an entry has a limit, all are counted."""
MAX_NAME = 60


def failed(reason: str, began_ms: int) -> UniverseChecked:
    """A fetch that gave nothing to compare."""
    return UniverseChecked(
        event_id=f"{NAME}/{began_ms}", outcome="failed", began_ms=began_ms, reason=reason[:500]
    )


def compared(
    snapshot: Snapshot, keys: list[Any], began_ms: int, now_s: float, mode: str
) -> UniverseChecked:
    """``snapshot`` against the raw replies to GET active, HGETALL meta and HGETALL symbols.

    By the producer's own rules: quarantined rows are on neither side, symbols that may only be
    closed count by their row, attributes are compared as the producer writes them. A universe that
    is not fresh is compared with nothing: gates do not use it, and what the churn guard holds back
    is among the reasons for that.
    """
    active, meta, rows = keys
    universe = judge(active, meta, rows, now_s=now_s, mode=mode)
    event = UniverseChecked(
        event_id=f"{NAME}/{began_ms}",
        outcome="compared",
        began_ms=began_ms,
        reason=universe.reason[:500],
        epoch=universe.epoch,
        refresh_s=universe.refresh_s,
        count=len(snapshot.symbols),
        symbols_sha256=symbols_sha256(snapshot.symbols),
    )
    if universe.status != "fresh":
        return event
    there, here = set(snapshot.symbols), universe.symbols
    published = {symbol.decode(): row.decode() for symbol, row in rows.items()}
    known = snapshot.attributes.keys() | published.keys()
    missing, extra = there - here, here - there
    # One symbol is one difference: what comes or goes has other attributes as well.
    changed = {
        symbol for symbol in known if snapshot.attributes.get(symbol) != published.get(symbol)
    } - (missing | extra)
    return UniverseChecked(
        event_id=event.event_id,
        occurred_at=event.occurred_at,
        outcome="compared",
        began_ms=began_ms,
        fresh=True,
        epoch=event.epoch,
        checked_s=_checked_s(meta),
        refresh_s=event.refresh_s,
        count=event.count,
        symbols_sha256=event.symbols_sha256,
        differing=len(missing) + len(extra) + len(changed),
        missing=_named(missing),
        extra=_named(extra),
        changed=_named(changed),
    )


def _checked_s(meta: dict[bytes, bytes]) -> int:
    """When the published universe was fetched last; 0, which confirms nothing, if unreadable."""
    text = meta.get(b"checked_epoch", b"")
    return int(text) if text.isdigit() and len(text) <= MAX_NAME else 0


def _named(symbols: Collection[str]) -> tuple[str, ...]:
    return tuple(symbol[:MAX_NAME] for symbol in sorted(symbols)[:MAX_NAMED])
