"""Checks every change of the universe: the event in itself, against its forerunner, and the keys.

A check that fails is a Finding, not an error of this consumer. What is checked is in CHECKS; the
page docs/universe.md tells what an operator does about each.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from quantum_ops import streams
from quantum_ops.consumer import consumer
from quantum_ops.context import Context
from quantum_ops.events import AuditFinding, Severity, UniverseChanged
from quantum_ops.settings import UniverseAuditSettings
from quantum_ops.universe import content_sha256, symbols_sha256

CHECKS: dict[str, tuple[Severity, str]] = {
    "universe_consistent": ("info", "every check passed"),
    "universe_event_wrong": ("critical", "count, order or hash of the event's own symbols is off"),
    "universe_symbol_invalid": ("critical", "a symbol does not match UNIVERSE_SYMBOL_REGEX"),
    "universe_epoch_gap": ("critical", "epochs do not follow each other: an event is missing"),
    "universe_difference_wrong": ("critical", "added and removed do not lead from set to set"),
    "universe_keys_differ": ("critical", "the keys of this epoch do not say what the event says"),
    "universe_keys_behind": ("critical", "the keys are older than an event that was published"),
    "universe_late": ("warning", "the event was audited long after it occurred"),
}
MAX_NAMED = 10


@dataclass(slots=True)
class Last:
    """The universe that was audited last."""

    epoch: int = 0
    sha256: str = ""
    symbols: frozenset[str] = frozenset()


@dataclass(slots=True)
class State:
    """What one batch is judged against; ``last`` moves on with each event of the batch."""

    last: Last
    epoch: int
    sha256: str
    symbols: tuple[str, ...]
    attributes: dict[str, str]
    unreadable: str


def fetch(_events: Sequence[UniverseChanged], context: Context) -> State:
    """The keys and the last audited universe, in one transaction for the whole batch."""
    with context.db.pipeline(transaction=True) as pipe:
        pipe.hgetall(streams.UNIVERSE_AUDITED)
        pipe.hgetall(streams.UNIVERSE_META)
        pipe.get(streams.UNIVERSE_ACTIVE)
        pipe.hgetall(streams.UNIVERSE_SYMBOLS)
        audited, meta, active, rows = pipe.execute(raise_on_error=False)
    last = Last()
    if isinstance(audited, dict) and b"epoch" in audited:
        symbols = frozenset(json.loads(audited[b"symbols"]))
        last = Last(int(audited[b"epoch"]), audited[b"sha256"].decode(), symbols)
    try:
        return State(
            last,
            int(meta[b"epoch"]),
            meta[b"sha256"].decode(),
            tuple(json.loads(active)["symbols"]),
            {symbol.decode(): row.decode() for symbol, row in rows.items()},
            "",
        )
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        return State(last, 0, "", (), {}, f"{type(error).__name__}: {error}")


@consumer(streams.UNIVERSE_CHANGED, prepare=fetch, settings=UniverseAuditSettings)
def universe_audit(event: UniverseChanged, context: Context) -> None:
    """Checks each universe.changed against itself, its forerunner and the published keys."""
    state: State = context.state
    if event.epoch == state.last.epoch and event.sha256 == state.last.sha256:
        return  # a redelivery or a replay: it was judged, and its Findings stand
    found = judge(event, state, context.settings, context.age_s)
    for name, detail in (found or {"universe_consistent": f"{event.count} symbols"}).items():
        context.publish(
            AuditFinding(
                auditor="universe_audit",
                finding=name,
                severity=CHECKS[name][0],
                subject=f"epoch {event.epoch}",
                detail=detail[:500],
                evidence=(context.entry_id, event.event_id),
            )
        )
    state.last = Last(event.epoch, event.sha256, frozenset(event.symbols))
    symbols = json.dumps(event.symbols)
    context.hset(
        streams.UNIVERSE_AUDITED,
        {"epoch": event.epoch, "sha256": event.sha256, "symbols": symbols},
    )


def judge(
    event: UniverseChanged, state: State, settings: UniverseAuditSettings, age_s: float
) -> dict[str, str]:
    """Finding name -> detail, for every check that failed. Pure."""
    found = {
        "universe_event_wrong": _itself(event),
        "universe_symbol_invalid": _invalid(event, settings),
        "universe_epoch_gap": _gap(event, state.last),
        "universe_difference_wrong": _difference(event, state.last),
        **_keys(event, state),
    }
    if age_s > settings.max_age_s:
        found["universe_late"] = f"audited {age_s:.0f} s after it was published"
    return {name: detail for name, detail in found.items() if detail}


def _itself(event: UniverseChanged) -> str:
    if event.count != len(event.symbols):
        return f"count is {event.count}, there are {len(event.symbols)} symbols"
    if list(event.symbols) != sorted(set(event.symbols)):
        return "symbols are not sorted or not unique"
    if event.symbols_sha256 != symbols_sha256(event.symbols):
        return "symbols_sha256 is not the hash of the symbols"
    return ""


def _invalid(event: UniverseChanged, settings: UniverseAuditSettings) -> str:
    bad = [one for one in event.symbols if not settings.symbol_regex.fullmatch(one)]
    return f"{len(bad)} invalid: {_named(bad)}" if bad else ""


def _gap(event: UniverseChanged, last: Last) -> str:
    if event.prev_epoch != event.epoch - 1:
        return f"epoch {event.epoch} says that it follows {event.prev_epoch}"
    if last.epoch and event.epoch != last.epoch + 1:
        return f"epoch {event.epoch} came after {last.epoch}"
    if last.epoch and event.prev_sha256 and event.prev_sha256 != last.sha256:
        return f"epoch {event.epoch} says that it follows another universe than the one audited"
    return ""


def _difference(event: UniverseChanged, last: Last) -> str:
    if event.epoch != last.epoch + 1 or not last.epoch:
        return ""  # without its forerunner there is nothing to compare with; _gap tells that
    made = (last.symbols | set(event.added)) - set(event.removed)
    if made != set(event.symbols):
        return f"applied, the difference is off by {_named(sorted(made ^ set(event.symbols)))}"
    return ""


def _keys(event: UniverseChanged, state: State) -> dict[str, str]:
    if not state.unreadable and state.epoch > event.epoch:
        return {}  # overtaken by a later change, whose own event is on its way
    if not state.unreadable and state.epoch < event.epoch:
        return {"universe_keys_behind": f"the keys are at epoch {state.epoch}"}
    return {"universe_keys_differ": _contradiction(event, state)}


def _contradiction(event: UniverseChanged, state: State) -> str:
    if state.unreadable:
        return f"the keys cannot be read ({state.unreadable})"
    if state.symbols != event.symbols:
        odd = sorted(set(state.symbols) ^ set(event.symbols))
        return f"active and event differ in {_named(odd)}"
    if state.sha256 != event.sha256:
        return "meta and event have different hashes"
    if content_sha256(state.symbols, state.attributes) != event.sha256:
        return "symbols and attributes do not have the event's hash"
    return ""


def _named(symbols: Sequence[Any]) -> str:
    more = f" and {len(symbols) - MAX_NAMED} more" if len(symbols) > MAX_NAMED else ""
    return ", ".join(map(str, symbols[:MAX_NAMED])) + more
