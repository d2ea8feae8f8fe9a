"""The only place that judges one universe.changed: in itself, by what was before, by keys. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from quantum_ops.events import UniverseChanged
from quantum_ops.settings import UniverseAuditSettings
from quantum_ops.universe import content_sha256, symbols_sha256

MAX_NAMED = 10


@dataclass(slots=True)
class Last:
    """The universe that was audited last."""

    epoch: int = 0
    sha256: str = ""
    symbols: frozenset[str] = frozenset()


@dataclass(slots=True)
class Published:
    """The keys as they stand; ``unreadable`` says why they could not be read."""

    epoch: int = 0
    sha256: str = ""
    symbols: tuple[str, ...] = ()
    attributes: dict[str, str] | None = None
    unreadable: str = ""


def judge(
    event: UniverseChanged,
    last: Last,
    published: Published,
    settings: UniverseAuditSettings,
    age_s: float,
) -> dict[str, str]:
    """Finding name -> detail, for every check that failed. Pure."""
    found = {
        "universe_event_wrong": _itself(event),
        "universe_symbol_invalid": _invalid(event, settings),
        "universe_epoch_gap": _gap(event, last),
        "universe_difference_wrong": _difference(event, last),
        **_keys(event, published),
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
    return f"{len(bad)} invalid: {named(bad)}" if bad else ""


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
        return f"applied, the difference is off by {named(sorted(made ^ set(event.symbols)))}"
    return ""


def _keys(event: UniverseChanged, state: Published) -> dict[str, str]:
    if not state.unreadable and state.epoch > event.epoch:
        return {}  # overtaken by a later change, whose own event is on its way
    if not state.unreadable and state.epoch < event.epoch:
        return {"universe_keys_behind": f"the keys are at epoch {state.epoch}"}
    return {"universe_keys_differ": _contradiction(event, state)}


def _contradiction(event: UniverseChanged, state: Published) -> str:
    if state.unreadable:
        return f"the keys cannot be read ({state.unreadable})"
    if state.symbols != event.symbols:
        odd = sorted(set(state.symbols) ^ set(event.symbols))
        return f"active and event differ in {named(odd)}"
    if state.sha256 != event.sha256:
        return "meta and event have different hashes"
    if content_sha256(state.symbols, state.attributes or {}) != event.sha256:
        return "symbols and attributes do not have the event's hash"
    return ""


def named(symbols: Sequence[Any]) -> str:
    """The first few of them, and how many more there are."""
    more = f" and {len(symbols) - MAX_NAMED} more" if len(symbols) > MAX_NAMED else ""
    return ", ".join(map(str, symbols[:MAX_NAMED])) + more
