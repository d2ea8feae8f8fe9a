"""The only place that reads the published universe and says whether it may be believed.

A universe is *fresh* only if its own flag says so **and** its age says so: the flag is set by the
producer, and a dead producer sets no flag.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import msgspec
import walrus

from quantum_ops import streams

SOURCE = "binance_futures_exchangeInfo"
FILTERS = {"contractType": "PERPETUAL", "status": "TRADING"}
MAX_MISSED = 3
"""Refreshes that may be missed before the universe counts as stale."""
DEFAULT_REFRESH_S = 60.0
"""Assumed where meta names no refresh: writers of before this project."""
MAX_EPOCH_DIGITS = 15
MAX_REFRESH_S = 3600.0
"""Longest refresh that can be set; a damaged larger one must not keep a dead universe fresh."""

_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError)

Status = Literal["fresh", "stale", "missing"]


class Active(msgspec.Struct, frozen=True):
    """The JSON of ``quantum:cfg:universe:active`` and ``last_ok``."""

    symbols: list[str]
    mode: str
    asof_epoch: int = 0
    source: str = ""


@dataclass(frozen=True, slots=True)
class Universe:
    """What a gate may rely on. ``symbols`` is empty unless ``status`` is ``fresh`` or ``stale``.

    ``reason`` says why it is not fresh, ``code`` the same as a word: ``missing``, ``unreadable``,
    ``wrong_mode``, ``stale_flag``, ``too_old``, ``wrong_clock`` or ``inconsistent``. ``age_s``
    counts from the last check of the producer;
    ``close_only`` are symbols that may only be reduced (known if attributes were asked for).
    """

    status: Status
    reason: str = ""
    code: str = ""
    mode: str = ""
    symbols: frozenset[str] = frozenset()
    epoch: int = 0
    age_s: float = 0.0
    refresh_s: float = DEFAULT_REFRESH_S
    quarantined: int = 0
    attributes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    close_only: frozenset[str] = frozenset()
    damage: str = ""
    """Why its content cannot be believed, whatever flag and age say; empty if it can."""
    asof_epoch: int = 0
    """The document's own time, which counts where meta tells none."""


def active_json(symbols: list[str], mode: str, asof_epoch: int) -> str:
    """The document as existing readers know it, field for field and in their order."""
    return json.dumps(
        {
            "asof_epoch": asof_epoch,
            "source": SOURCE,
            "mode": mode,
            "symbols": symbols,
            "filters": FILTERS,
        }
    )


def symbols_sha256(symbols: Iterable[str]) -> str:
    """SHA-256 (hex) of the sorted symbols joined by line feeds."""
    return hashlib.sha256("\n".join(sorted(symbols)).encode()).hexdigest()


def content_sha256(symbols: Iterable[str], attributes: Mapping[str, str]) -> str:
    """SHA-256 (hex) of the sorted symbols and the sorted attribute rows, times left out.

    ``attributes`` is symbol -> canonical JSON, as ``quantum:cfg:universe:symbols`` holds it.
    """
    rows = [sorted(symbols), sorted(attributes.items())]
    return hashlib.sha256(json.dumps(rows, separators=(",", ":")).encode()).hexdigest()


def load_universe(
    db: walrus.Database, *, now_s: float, mode: str = "", attributes: bool = False
) -> Universe:
    """The universe as it stands now, read in one transaction so that it is never torn.

    Unreadable keys (wrong type, bad JSON, bad UTF-8) are ``stale`` with the reason; only a broken
    connection raises. ``mode`` asks for that network: another one is ``stale``.
    """
    with db.pipeline(transaction=True) as pipe:
        pipe.get(streams.UNIVERSE_ACTIVE)
        pipe.hgetall(streams.UNIVERSE_META)
        if attributes:
            pipe.hgetall(streams.UNIVERSE_SYMBOLS)
        found = pipe.execute(raise_on_error=False)
    rows = found[2] if attributes else None
    return judge(found[0], found[1], rows, now_s=now_s, mode=mode)


def judge(active: Any, meta: Any, rows: Any = None, *, now_s: float, mode: str = "") -> Universe:
    """The verdict on the raw replies of GET active, HGETALL meta and HGETALL symbols.

    Replies may be error values. For gates that read them in their own batch's round trip. ``rows``
    None means that attributes were not asked for; an empty reply is attributes that are missing.
    """
    try:
        return _judge(active, meta, rows, now_s, mode)
    except _UNREADABLE as error:
        return Universe("stale", f"unreadable: {error}", "unreadable")


def renewed(held: Universe, meta: Any, *, now_s: float, mode: str = "") -> Universe:
    """``held`` with its flag and age judged anew from the raw reply of HGETALL meta.

    For readers that keep the content and read meta with every batch; whether it is still the same
    content is theirs to know (:mod:`quantum_ops.universe_cache`).
    """
    try:
        fields = _texts(meta)
        age_s = now_s - _checked(fields, held.asof_epoch)
        refresh_s = _refresh_s(fields)
    except _UNREADABLE as error:
        return Universe("stale", f"unreadable: {error}", "unreadable")
    problem = _flagged(held.mode, fields, mode) or _aged(age_s, refresh_s)
    code, reason = problem or (("inconsistent", held.damage) if held.damage else ("", ""))
    return replace(
        held,
        status="stale" if code else "fresh",
        code=code,
        reason=reason,
        age_s=age_s,
        refresh_s=refresh_s,
    )


def _judge(active: Any, meta: Any, rows: Any, now_s: float, mode: str) -> Universe:
    for reply in (active, meta, rows):
        if isinstance(reply, Exception):
            raise TypeError(str(reply))
    if active is None:
        return Universe("missing", "no universe was ever published", "missing")
    document = msgspec.json.decode(active, type=Active)
    fields = _texts(meta)
    symbols = frozenset(document.symbols)
    refresh_s = _refresh_s(fields)
    texts = {symbol.decode(): row.decode() for symbol, row in (rows or {}).items()}
    age_s = now_s - _checked(fields, document.asof_epoch)
    damage = _inconsistent(document, fields) or (
        "" if rows is None else _unlike(document, texts, fields)
    )
    attributes = {symbol: _row.decode(row) for symbol, row in texts.items()}
    problem = _flagged(document.mode, fields, mode) or _aged(age_s, refresh_s)
    code, reason = problem or (("inconsistent", damage) if damage else ("", ""))
    return Universe(
        "stale" if code else "fresh",
        reason,
        code,
        document.mode,
        symbols,
        _epoch(fields),
        age_s,
        refresh_s,
        int(fields.get("quarantined") or 0),
        attributes,
        frozenset(symbol for symbol, row in attributes.items() if row.get("state") == "close_only"),
        damage,
        document.asof_epoch,
    )


def _texts(meta: Any) -> dict[str, str]:
    if isinstance(meta, Exception):
        raise TypeError(str(meta))
    fields = {name.decode(): value.decode() for name, value in meta.items()}
    if not fields:
        raise ValueError("meta is missing")
    return fields


def _checked(fields: Mapping[str, str], otherwise: int) -> float:
    return float(fields.get("checked_epoch") or fields.get("asof_epoch") or otherwise)


def _refresh_s(fields: Mapping[str, str]) -> float:
    return min(float(fields.get("refresh_sec") or DEFAULT_REFRESH_S), MAX_REFRESH_S)


def _epoch(fields: Mapping[str, str]) -> int:
    text = fields.get("epoch") or "0"
    # int() also takes "1_0", signs and foreign digits: a damaged epoch must not pass for another.
    if not (text.isascii() and text.isdecimal() and len(text) <= MAX_EPOCH_DIGITS):
        raise ValueError(f"epoch is {text[:20]!r}")
    return int(text)


_Problem = tuple[str, str]
"""(code, reason)."""


def _flagged(told: str, meta: Mapping[str, str], mode: str) -> _Problem | None:
    if mode and told != mode:
        return "wrong_mode", f"it is of {told}, not of {mode}"
    if meta.get("stale") != "0":
        return "stale_flag", f"flagged stale: {meta.get('error') or 'no reason given'}"
    return None


def _aged(age_s: float, refresh_s: float) -> _Problem | None:
    # "not (a <= b)" also catches NaN, which compares false with everything.
    if not age_s <= MAX_MISSED * refresh_s:
        return "too_old", f"checked {age_s:.0f} s ago, more than {MAX_MISSED} x {refresh_s:g} s"
    if not age_s >= -refresh_s:
        return "wrong_clock", f"checked {-age_s:.0f} s in the future: a clock is wrong"
    return None


def _inconsistent(document: Active, meta: Mapping[str, str]) -> str:
    if not document.symbols:
        return "it is empty"
    told = meta.get("count")
    if told is not None and int(told) != len(document.symbols):
        return f"meta counts {told} symbols, the document has {len(document.symbols)}"
    digest = meta.get("symbols_sha256")
    if digest and digest != symbols_sha256(document.symbols):
        return "the symbols do not have the hash that meta tells"
    return ""


def _unlike(document: Active, rows: Mapping[str, str], meta: Mapping[str, str]) -> str:
    # Missing rows would read as "nothing is close_only", so they must not pass in silence.
    digest = meta.get("sha256")
    if digest and digest != content_sha256(document.symbols, rows):
        return "the attributes do not have the hash that meta tells"
    return ""


_row = msgspec.json.Decoder(dict[str, str])
