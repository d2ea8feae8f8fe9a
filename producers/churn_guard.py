"""The only place that decides whether a snapshot removes too much to be believed. Pure.

An empty-but-successful or half-loaded listing is the classic way in which a universe is lost;
real churn is 0 to 1.3 % between days. Both bounds must be exceeded, so that a small universe
may change in percent and a big one in count.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from producers.exchange_info import Snapshot
from quantum_ops.settings import UniverseSettings
from quantum_ops.universe import symbols_sha256


@dataclass(frozen=True, slots=True)
class Held:
    """Removals that are not believed yet.

    ``sha256`` names the set that the exchange shows (an approval is for that set only), ``seen``
    counts the fetches in a row that showed it.
    """

    sha256: str
    removed: tuple[str, ...]
    seen: int

    def reason(self, total: int, settings: UniverseSettings) -> str:
        """What an operator reads in meta.error."""
        return (
            f"churn guard: {len(self.removed)} of {total} symbols would go at once; held until "
            f"seen {settings.confirmations} times (now {self.seen}) or ./run universe accept"
        )


def hold(
    published: Iterable[str],
    snapshot: Snapshot,
    settings: UniverseSettings,
    before: Held | None,
    accepted_sha256: str,
) -> Held | None:
    """What is held back of ``snapshot``; None if it may be believed as it is.

    ``before`` is what the last fetch held, ``accepted_sha256`` the set an operator approved.
    """
    symbols = set(published)
    removed = tuple(sorted(symbols.difference(snapshot.symbols)))
    if len(removed) <= settings.max_removed:
        return None
    if len(removed) <= len(symbols) * settings.max_removed_pct / 100:
        return None
    digest = symbols_sha256(snapshot.symbols)
    seen = before.seen + 1 if before is not None and before.sha256 == digest else 1
    if digest == accepted_sha256 or seen >= settings.confirmations:
        return None
    return Held(digest, removed, seen)
