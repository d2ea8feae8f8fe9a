"""The only place of the benchmark's data: what stands in the stream and what must come of it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import redis

from quantum_ops.events import Event
from quantum_ops.streams import Stream

SYMBOLS = tuple(f"SYM{number:03d}USDT" for number in range(100))
PIPELINE = 1000
KEPT_S = 3600
NOTE = (
    "fill reported by the matching side; to be checked against the plan, the permit and the "
    "position before the next plan of the symbol"
)


class Tick(Event, frozen=True, kw_only=True):
    """The typed event of all runtime cases: four texts, two floats, an integer and a flag."""

    event_id: str
    symbol: str
    source: str
    note: str
    price: float
    qty: float
    sent_ns: int
    reduce_only: bool


class ExactTick(Event, frozen=True, kw_only=True):
    """The same entry read with exact decimals instead of floats."""

    event_id: str
    symbol: str
    source: str
    note: str
    price: Decimal
    qty: Decimal
    sent_ns: int
    reduce_only: bool


LONG = "bench.tick"
SHORT = "bench.tick_short"
TASKS = "bench.tick_task"
LIVE = "bench.tick_live"


def stream(name: str, event: type[Event] = Tick) -> Stream:
    """The stream ``name`` as the catalogue would have it."""
    return Stream(name, event, KEPT_S, "bench")


def fields(number: int) -> dict[str, str]:
    """Entry ``number``: 8 fields, 290 to 300 bytes of names and values."""
    return {
        "event_id": f"{number:032x}",
        "symbol": SYMBOLS[number % len(SYMBOLS)],
        "source": "exchange-adapter/spot-margin-7",
        "note": NOTE,
        "price": f"{20_000 + number % 997 + 0.25:.8f}",
        "qty": f"{(number % 89 + 1) / 8:.8f}",
        "sent_ns": f"{1_764_000_000_000_000_000 + number}",
        "reduce_only": "true" if number % 2 else "false",
    }


def state_key(symbol: str) -> str:
    """The hash that the effect of an entry of ``symbol`` writes."""
    return f"quantum:bench:state:{symbol}"


def flat(fields: dict[str, str]) -> list[Any]:
    """Names and values as they stand in an entry."""
    return [part for pair in fields.items() for part in pair]


def fill(
    db: redis.Redis, name: str, entries: int, spell: Callable[[dict[str, str]], list[Any]] = flat
) -> None:
    """Put ``entries`` entries into the empty stream ``name``, as ``spell`` writes them."""
    key = stream(name).key
    db.delete(key)
    for start in range(0, entries, PIPELINE):
        pipe = db.pipeline(transaction=False)
        for number in range(start, min(start + PIPELINE, entries)):
            pipe.execute_command("XADD", key, "*", *spell(fields(number)))
        pipe.execute()


def entry_bytes() -> int:
    """Bytes of names and values of one entry."""
    return sum(len(name) + len(value) for name, value in fields(1).items())


def clear_effects(db: redis.Redis) -> None:
    """Forget what an earlier run's effects wrote."""
    db.delete(*(state_key(symbol) for symbol in SYMBOLS))


def effects_missing(db: redis.Redis, entries: int, *, unordered: bool = False) -> str:
    """Empty if the effects of ``entries`` entries were applied in order; else what is wrong.

    If they are ``unordered``, any entry of a symbol may have been its last.
    """
    counted = 0
    for offset, symbol in enumerate(SYMBOLS):
        numbers = range(offset, entries, len(SYMBOLS))
        found: Any = db.hgetall(state_key(symbol))
        if not numbers:
            continue
        counted += len(numbers)
        wanted = fields(numbers[-1])
        told = found.get(b"event_id", b"").decode()
        if unordered and told in {fields(number)["event_id"] for number in numbers}:
            continue
        if told != wanted["event_id"]:
            return f"{symbol}: last effect is {found.get(b'event_id')!r}, not {wanted['event_id']}"
    return "" if counted == entries else f"effects of {counted} entries, not of {entries}"
