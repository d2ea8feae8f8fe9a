"""The only place that decides what one fetch does to the published universe. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from producers.churn_guard import Held, hold
from producers.exchange_info import Snapshot
from quantum_ops import streams
from quantum_ops.events import AuditFinding, UniverseChanged
from quantum_ops.settings import UniverseSettings
from quantum_ops.universe import active_json, content_sha256, symbols_sha256

MAX_ERROR = 500
"""Characters of meta.error, as in the spec's original."""


@dataclass(frozen=True, slots=True)
class Published:
    """The universe as it stands in Redis before the fetch. ``epoch`` 0: never published.

    ``guard`` is meta's epoch to the letter: the write is refused if it moved. ``intact`` says that
    document and attributes have the content hash that meta tells.
    """

    epoch: int = 0
    guard: str = "0"
    sha256: str = ""
    intact: bool = False
    mode: str = ""
    stale: bool = True
    known: bool = False
    symbols: tuple[str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    held: Held | None = None
    accepted_sha256: str = ""


@dataclass(frozen=True, slots=True)
class Write:
    """Everything one fetch changes, to be written in one atomic step.

    ``None`` leaves a key as it is. ``event`` goes to universe.changed, ``finding`` to
    audit.finding. ``held`` empty deletes that key.
    """

    meta: dict[str, str]
    active: str | None = None
    attributes: Mapping[str, str] | None = None
    held: str = ""
    keep_held: bool = False
    event: UniverseChanged | None = None
    finding: AuditFinding | None = None


def after_refusal(published: Published, reason: str, now_s: float) -> Write:
    """A fetch that gave nothing to believe: the flag, the reason, the heartbeat, nothing else."""
    return Write(
        meta={"stale": "1", "error": reason[:MAX_ERROR], "checked_epoch": str(int(now_s))},
        keep_held=True,
        finding=_flip(published, stale=True, reason=reason),
    )


def after_body(
    published: Published, snapshot: Snapshot, settings: UniverseSettings, now_s: float
) -> Write:
    """A fetch that gave a snapshot: no change is a heartbeat, a change is one event."""
    # Another network is another universe: its symbols say nothing about churn in this one.
    guarded = published.symbols if published.mode in ("", settings.mode) else ()
    held = hold(guarded, snapshot, settings, published.held, published.accepted_sha256)
    symbols, attributes = snapshot.symbols, dict(snapshot.attributes)
    error = ""
    if held is not None:
        error = held.reason(len(published.symbols), settings)
        # Additions flow, removals wait: what would go keeps its last known attributes.
        symbols = tuple(sorted({*symbols, *held.removed}))
        attributes |= {
            symbol: published.attributes[symbol]
            for symbol in held.removed
            if symbol in published.attributes
        }
    if len(symbols) > settings.max_symbols:
        return after_refusal(published, f"too_many: {len(symbols)} symbols; {error}", now_s)
    moment = int(now_s)
    digest = content_sha256(symbols, attributes)
    meta = {
        "asof_epoch": str(moment),
        "checked_epoch": str(moment),
        "count": str(len(symbols)),
        "stale": "1" if held else "0",
        "error": error[:MAX_ERROR],
        "mode": settings.mode,
        "refresh_sec": f"{settings.refresh_s:g}",
        "quarantined": str(len(snapshot.quarantined)),
    }
    if held is None:
        meta["last_ok_epoch"] = str(moment)
    finding = _flip(published, stale=held is not None, reason=error)
    held_json = json.dumps([held.sha256, held.removed, held.seen]) if held else ""
    active = active_json(list(symbols), settings.mode, moment)
    if published.symbols and digest == published.sha256:
        # A key that somebody damaged or deleted is put back; that is no change of the universe.
        repair = None if published.intact else attributes
        return Write(meta, active, repair, held_json, finding=finding)
    event = UniverseChanged(
        epoch=published.epoch + 1,
        prev_epoch=published.epoch,
        mode="mainnet" if settings.mode == "mainnet" else "testnet",
        asof_epoch=moment,
        count=len(symbols),
        sha256=digest,
        prev_sha256=published.sha256,
        symbols_sha256=symbols_sha256(symbols),
        symbols=symbols,
        quarantined=_bounded(snapshot.quarantined),
        held=error,
        **_difference(published, symbols, attributes),
    )
    meta |= {
        "epoch": str(event.epoch),
        "sha256": digest,
        "symbols_sha256": event.symbols_sha256,
        "changed_epoch": str(moment),
    }
    return Write(meta, active, attributes, held_json, event=event, finding=finding)


def _difference(
    published: Published, symbols: tuple[str, ...], attributes: Mapping[str, str]
) -> dict[str, Any]:
    """The fields of the event that tell old from new."""
    before, after = set(published.symbols), set(symbols)
    old = {symbol: json.loads(row) for symbol, row in published.attributes.items()}
    new = {symbol: json.loads(row) for symbol, row in attributes.items()}
    closing = [
        symbol
        for symbol, row in new.items()
        if row["state"] == "close_only"
        and symbol in before
        and old.get(symbol, {}).get("state") != "close_only"
    ]
    return {
        "added": tuple(sorted(after - before)),
        "removed": tuple(sorted(before - after)),
        "close_only": tuple(sorted(closing)),
        "changed": _changed(old, new, before & after),
    }


def _changed(
    old: Mapping[str, Mapping[str, str]], new: Mapping[str, Mapping[str, str]], both: set[str]
) -> dict[str, dict[str, tuple[str, str]]]:
    """Symbol -> attribute -> (old, new), for symbols tradeable before and after."""
    changed: dict[str, dict[str, tuple[str, str]]] = {}
    for symbol in sorted(both):
        was, now = old.get(symbol, {}), new.get(symbol, {})
        rows = {
            name: (was.get(name, ""), now.get(name, ""))
            for name in sorted(was.keys() | now.keys())
            if was.get(name) != now.get(name)
        }
        if rows and was:
            changed[symbol] = rows
    return changed


def _bounded(quarantined: Mapping[str, str], most: int = 300) -> dict[str, str]:
    """The first ``most`` names: hostile rows must not push the event over its size limit."""
    return {symbol: quarantined[symbol][:120] for symbol in sorted(quarantined)[:most]}


def _flip(published: Published, *, stale: bool, reason: str) -> AuditFinding | None:
    """The Finding of a universe that went from fresh to stale or back; None if it did not."""
    if published.known and published.stale == stale:
        return None
    if not published.known and not stale:
        return None  # the very first universe is told by its own event
    return AuditFinding(
        auditor="universe",
        finding="universe_stale" if stale else "universe_fresh",
        severity="warning" if stale else "info",
        subject=streams.UNIVERSE_ACTIVE,
        detail=reason[:MAX_ERROR],
    )
