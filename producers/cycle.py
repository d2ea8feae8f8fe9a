"""The only place that decides what one fetch does to the published universe. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from producers.churn_guard import Held, hold
from producers.exchange_info import Refusal, Snapshot
from quantum_ops import codec, streams
from quantum_ops.events import AuditFinding, UniverseChanged
from quantum_ops.settings import UniverseSettings
from quantum_ops.universe import active_json, content_sha256, symbols_sha256

MAX_ERROR = 500
"""Characters of meta.error, as in the spec's original."""
MAX_NAMED = 300
MAX_NAME = 64
"""Quarantined rows named in an event, and characters of a name: rows are anybody's text."""
_row = msgspec.json.Decoder(dict[str, str])


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


def after_refusal(
    published: Published, reason: str, now_s: float, ban: Mapping[str, str] | None = None
) -> Write:
    """A fetch that gave nothing to believe: the flag, the reason, the heartbeat, nothing else.

    ``ban`` holds the meta fields that tell until when the exchange wants to be left alone.
    """
    meta = {"stale": "1", "error": reason[:MAX_ERROR], "checked_epoch": str(int(now_s))}
    return Write(
        meta=meta | dict(ban or {}),
        keep_held=True,
        finding=_flip(published, stale=True, reason=reason),
    )


def after_body(
    published: Published, snapshot: Snapshot, settings: UniverseSettings, now_s: float
) -> Write:
    """A fetch that gave a snapshot: no change is a heartbeat, a change is one event.

    Raises :class:`Refusal` for a universe that no event can carry.
    """
    # Another network is another universe: its symbols say nothing about churn in this one.
    guarded = published.symbols if published.mode in ("", settings.mode) else ()
    held = hold(guarded, snapshot, settings, published.held, published.accepted_sha256)
    symbols, attributes = snapshot.symbols, dict(snapshot.attributes)
    error = ""
    if held is not None:
        error = held.reason(len(published.symbols), settings)
        # Additions flow, removals wait: what would go keeps its last known attributes.
        symbols = tuple(sorted({*symbols, *held.removed}))
        known = _parsed(published.attributes)
        attributes |= {
            symbol: published.attributes[symbol] for symbol in held.removed if symbol in known
        }
    if len(symbols) > settings.max_symbols:
        return after_refusal(published, f"too_many: {len(symbols)} symbols; {error}", now_s)
    moment = int(now_s)
    digest = content_sha256(symbols, attributes)
    meta = {
        "asof_epoch": str(moment),
        "checked_epoch": str(moment),
        "count": str(len(symbols)),
        "epoch": str(published.epoch),
        "sha256": digest,
        "symbols_sha256": symbols_sha256(symbols),
        "stale": "1" if held else "0",
        "error": error[:MAX_ERROR],
        "mode": settings.mode,
        "refresh_sec": f"{settings.refresh_s:g}",
        "quarantined": str(len(snapshot.quarantined)),
        "banned_until_epoch": "0",
    }
    if held is None:
        meta["last_ok_epoch"] = str(moment)
    finding = _flip(published, stale=held is not None, reason=error)
    held_json = json.dumps([held.sha256, held.removed, held.seen]) if held else ""
    active = active_json(list(symbols), settings.mode, moment)
    if digest == published.sha256 and published.mode in ("", settings.mode):
        # A key that somebody damaged or deleted is put back; that is no change of the universe.
        repair = None if published.intact else attributes
        return Write(meta, active, repair, held_json, finding=finding)
    event = _fitting(
        epoch=published.epoch + 1,
        prev_epoch=published.epoch,
        mode="mainnet" if settings.mode == "mainnet" else "testnet",
        asof_epoch=moment,
        count=len(symbols),
        sha256=digest,
        prev_sha256=published.sha256,
        symbols_sha256=meta["symbols_sha256"],
        symbols=symbols,
        quarantined=_bounded(snapshot.quarantined),
        held=error,
        **_difference(published, symbols, attributes),
    )
    meta |= {"epoch": str(event.epoch), "changed_epoch": str(moment)}
    return Write(meta, active, attributes, held_json, event=event, finding=finding)


def _fitting(**fields: Any) -> UniverseChanged:
    """The event, without its details if one entry cannot carry them; the symbols always stand."""
    event = UniverseChanged(**fields)
    for left_out in ((), ("quarantined",), ("quarantined", "changed")):
        shorter = msgspec.structs.replace(event, **{name: {} for name in left_out})
        try:
            codec.encode(shorter)
        except ValueError:
            continue
        return shorter
    raise Refusal("too_many", f"{event.count} symbols do not fit into one event")


def _difference(
    published: Published, symbols: tuple[str, ...], attributes: Mapping[str, str]
) -> dict[str, Any]:
    """The fields of the event that tell old from new."""
    before, after = set(published.symbols), set(symbols)
    old, new = _parsed(published.attributes), _parsed(attributes)
    closing = [
        symbol
        for symbol, row in new.items()
        if row.get("state") == "close_only"
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


def _parsed(rows: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """The rows that can be read. One that somebody damaged counts as absent and is written anew."""
    parsed = {}
    for symbol, row in rows.items():
        try:
            parsed[symbol] = _row.decode(row)
        except (ValueError, RecursionError):
            continue
    return parsed


def _bounded(quarantined: Mapping[str, str]) -> dict[str, str]:
    """What an event tells of it: hostile rows must not push it over its size limit."""
    named = sorted(quarantined)[:MAX_NAMED]
    return {symbol[:MAX_NAME]: quarantined[symbol][:120] for symbol in named}


def _flip(published: Published, *, stale: bool, reason: str) -> AuditFinding | None:
    """The Finding of a universe that went from fresh to stale or back; None if it did not."""
    if published.known and published.stale == stale:
        return None
    if not published.known and not stale:
        return None  # the very first universe is told by its own event
    return turned(stale=stale, reason=reason)


def turned(*, stale: bool, reason: str) -> AuditFinding:
    """The Finding that the flag was turned."""
    return AuditFinding(
        auditor="universe",
        finding="universe_stale" if stale else "universe_fresh",
        severity="warning" if stale else "info",
        subject=streams.UNIVERSE_ACTIVE,
        detail=reason[:MAX_ERROR],
    )
