"""The only place that judges second fetches of the exchange against what is published. Pure.

Two fetches never see the same moment, so one difference means nothing. It is believed when a later
fetch shows it again, the same way round, although the published universe was fetched anew in
between and nothing was published about that symbol meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from quantum_ops import entry_id
from quantum_ops.audit.universe_change import named
from quantum_ops.events import UniverseChecked

FETCH_IN_REFRESHES, MIN_FETCH_S = 1.2, 0.8
"""Longest fetch of the producer: a refresh that ends sooner after a moment may have begun before
it. The bound that HTTP_TIMEOUT_SEC is cut to."""
AGREED_EVERY_MS = 3_600_000
OVERDUE_IN_PERIODS, OVERDUE_S = 3, 60.0
"""Without word for so many periods, and so long beyond, the second fetch counts as failed."""
MAX_EVIDENCE = 10
FAILURES = 2
"""Failed fetches in a row that are told: a single one means nothing, the next may succeed."""
Kind = Literal["not published", "not tradeable", "other attributes"]
KINDS: tuple[Kind, ...] = ("not published", "not tradeable", "other attributes")


class Suspect(msgspec.Struct, frozen=True):
    """A symbol that differs; ``told`` once it is a Finding.

    The first fetch that saw it began at ``since_ms`` (epoch ms); its entry is ``first``.
    """

    kind: Kind
    since_ms: int
    first: str
    told: bool = False


class Memory(msgspec.Struct, frozen=True):
    """What is known from earlier checks.

    ``last`` is the entry that was judged last, ``heard_ms`` when it was added. ``failures`` counts
    fetches that failed in a row; ``failing`` says why nothing can be compared, from when that was
    told until it can. ``news`` is True if agreement is worth telling; it was told last at
    ``agreed_ms`` of ``agreed_epoch``.
    """

    last: str = "0-0"
    heard_ms: int = 0
    suspects: dict[str, Suspect] = {}
    failures: int = 0
    failing: str = ""
    news: bool = True
    agreed_ms: int = 0
    agreed_epoch: int = 0


class Told(msgspec.Struct, frozen=True):
    """One Finding to be told; ``evidence`` beside the entry it follows from."""

    name: str
    detail: str
    evidence: tuple[str, ...] = ()


def judge(event: UniverseChecked, id_: str, memory: Memory) -> tuple[list[Told], Memory]:
    """The Findings that follow from one check, whose entry is ``id_``, and what to remember."""
    at = entry_id.parse(id_)
    if at <= entry_id.parse(memory.last):
        return [], memory  # delivered again: it was judged, and its Findings stand
    memory = msgspec.structs.replace(memory, last=id_, heard_ms=at[0])
    if event.outcome == "failed":
        memory = msgspec.structs.replace(memory, failures=memory.failures + 1)
        if memory.failures < FAILURES:
            return [], memory
        return _failed(memory, event.reason or "no reason given")
    news = memory.news or bool(memory.failing)
    memory = msgspec.structs.replace(memory, failures=0, failing="", news=news)
    if not event.fresh:
        # Gates do not use it, and that it is stale is told elsewhere. What was told stays known:
        # it is no news when the universe is fresh again.
        kept = {symbol: one for symbol, one in memory.suspects.items() if one.told}
        return [], msgspec.structs.replace(memory, suspects=kept)
    return _compared(event, id_, memory)


def published(memory: Memory, symbols: Iterable[str]) -> Memory:
    """``memory`` after something was published about ``symbols``: suspicion of them begins anew."""
    touched = {symbol for symbol in symbols if symbol in memory.suspects}
    kept = {
        symbol: one for symbol, one in memory.suspects.items() if one.told or symbol not in touched
    }
    return memory if kept == memory.suspects else msgspec.structs.replace(memory, suspects=kept)


def overdue(memory: Memory, now_ms: int, every_s: float) -> tuple[list[Told], Memory]:
    """What follows from hearing nothing: a check that does not run compares nothing either."""
    if not memory.heard_ms:
        return [], msgspec.structs.replace(memory, heard_ms=now_ms)
    silent_s = (now_ms - memory.heard_ms) / 1000
    if silent_s <= OVERDUE_IN_PERIODS * every_s + OVERDUE_S:
        return [], memory
    return _failed(memory, f"no second fetch for {silent_s:.0f} s; is universe_check running?")


def hindrance(memory: Memory) -> str:
    """What keeps the universe from being proven by the second fetch now; empty for nothing."""
    if memory.failing:
        return f"cannot compare with the exchange: {memory.failing}"[:300]
    wrong = sorted(symbol for symbol, one in memory.suspects.items() if one.told)
    return f"still sees a difference to the exchange: {named(wrong)}" if wrong else ""


def read(reply: Any) -> Memory:
    """What was remembered, from the reply to GET; damage is forgotten."""
    try:
        found = _decode(reply)
        entry_id.parse(found.last)
    except (TypeError, ValueError, msgspec.DecodeError):
        return Memory()
    return found


def _failed(memory: Memory, why: str) -> tuple[list[Told], Memory]:
    told = [] if memory.failing else [Told("universe_check_failed", why)]
    return told, msgspec.structs.replace(memory, failing=memory.failing or why[:500])


def _compared(event: UniverseChecked, id_: str, memory: Memory) -> tuple[list[Told], Memory]:
    differing: dict[str, Kind] = {
        **dict.fromkeys(event.changed, "other attributes"),
        **dict.fromkeys(event.extra, "not tradeable"),
        **dict.fromkeys(event.missing, "not published"),
    }
    suspects: dict[str, Suspect] = {}
    believed: dict[str, Suspect] = {}
    fetch_ms = 1000 * max(MIN_FETCH_S, FETCH_IN_REFRESHES * event.refresh_s)
    for symbol, kind in differing.items():
        known = memory.suspects.get(symbol)
        if known is None or known.kind != kind:
            known = Suspect(kind, event.began_ms, id_)
        elif not known.told and event.checked_s * 1000 >= known.since_ms + fetch_ms:
            known = believed[symbol] = msgspec.structs.replace(known, told=True)
        suspects[symbol] = known
    told: list[Told] = []
    news = memory.news
    if believed:
        news = True
        first = tuple(sorted({one.first for one in believed.values()}))[:MAX_EVIDENCE]
        told.append(
            Told("universe_differs_from_exchange", _described(believed, event.differing), first)
        )
    memory = msgspec.structs.replace(memory, suspects=suspects, news=news)
    due = event.began_ms - memory.agreed_ms >= AGREED_EVERY_MS
    if not suspects and (news or due or event.epoch != memory.agreed_epoch):
        told.append(Told("universe_agrees_with_exchange", f"{event.count} symbols"))
        memory = msgspec.structs.replace(
            memory, news=False, agreed_ms=event.began_ms, agreed_epoch=event.epoch
        )
    return told, memory


def _described(believed: Mapping[str, Suspect], differing: int) -> str:
    parts = []
    for kind in KINDS:
        mine = sorted(symbol for symbol, one in believed.items() if one.kind == kind)
        if mine:
            parts.append(f"{kind}: {named(mine)}")
    more = f" ({differing} differ in all)" if differing > len(believed) else ""
    return "; ".join(parts) + more


_decode = msgspec.json.Decoder(Memory).decode
