"""The only place that counts how much the universe changed in a day (UTC). Pure."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from quantum_ops.audit.universe_change import named
from quantum_ops.events import UniverseChanged

DAY_MS = 86_400_000


@dataclass(slots=True)
class Day:
    """The changes of the day ``date``; ``size`` is the longest list that it saw.

    A symbol that came and went counts once for each: a share of the list is asked for, not how
    often the exchange changed its mind. ``closing`` became close_only, ``changed`` got other
    attributes.
    """

    date: str
    size: int = 0
    events: int = 0
    unreadable: int = 0
    added: set[str] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)
    closing: set[str] = field(default_factory=set)
    changed: set[str] = field(default_factory=set)

    def add(self, event: UniverseChanged) -> None:
        """Count one more change. The first universe of all is none: everything in it is new."""
        self.size = max(self.size, len(event.symbols))
        if event.prev_epoch == 0:
            return
        self.events += 1
        self.added.update(event.added)
        self.removed.update(event.removed)
        self.closing.update(event.close_only)
        self.changed.update(event.changed)

    @property
    def pct(self) -> float:
        """Symbols that came, went or may only be closed now, in percent of the list."""
        return 100 * len(self.added | self.removed | self.closing) / max(1, self.size)

    def told(self) -> str:
        """The day in one line."""
        counts = (
            f"{len(self.added)} added, {len(self.removed)} removed, {len(self.closing)} close_only,"
            f" {len(self.changed)} with other attributes, in {self.events} changes;"
            f" {self.pct:.1f} % of {self.size} symbols"
        )
        parts = [counts]
        parts += [f"added {named(sorted(self.added))}"] * bool(self.added)
        parts += [f"removed {named(sorted(self.removed))}"] * bool(self.removed)
        parts += [f"close_only {named(sorted(self.closing))}"] * bool(self.closing)
        parts += [f"{self.unreadable} entries unreadable"] * bool(self.unreadable)
        return "; ".join(parts)


def date(at_ms: int) -> str:
    """The day of that moment, YYYY-MM-DD."""
    return time.strftime("%Y-%m-%d", time.gmtime(at_ms / 1000))


def days_due(last: str, now_ms: int, most: int) -> list[int]:
    """Epoch ms at which the days begin that are over and not reported, oldest first.

    ``last`` is the day that was reported last; without it, or beyond ``most`` days, the rest is
    left out.
    """
    today = now_ms - now_ms % DAY_MS
    back = most if _is_date(last) else 1
    starts = [today - number * DAY_MS for number in range(back, 0, -1)]
    return [start for start in starts if not _is_date(last) or date(start) > last]


def _is_date(text: str) -> bool:
    try:
        time.strptime(text, "%Y-%m-%d")
    except ValueError:
        return False
    return True
