"""The only place where a P3.3 process follows the universe and tells of a changed allowlist."""

from __future__ import annotations

from typing import Any

from quantum_ops import client
from quantum_ops.context import Context
from quantum_ops.p33.allowlist import Allowlist, choose, mode_of
from quantum_ops.settings import P33Settings
from quantum_ops.universe_cache import UniverseCache


class Watch:
    """The allowlist in force, judged anew with every look.

    A look is meta and the news, read in the round trip of whoever looks: a batch's state, or an
    idle moment. Nothing is allowed on a list that was not compared with meta in the same round
    trip; ``last`` is the allowlist of the last look, for whoever denies anyway.
    """

    def __init__(self, settings: P33Settings) -> None:
        self._settings = settings
        self._cache = UniverseCache(mode_of(settings), settings.cache_s)
        self._told: tuple[object, ...] | None = None
        self.last: Allowlist | None = None

    COMMANDS = UniverseCache.COMMANDS
    """Replies that :meth:`judge` takes."""

    def packed(self) -> bytes:
        """The commands of one look, to be sent along with others."""
        return self._cache.packed()

    def look(self, context: Context) -> Allowlist:
        """One look of its own, for moments without work. Raises what the connection raises."""
        return self.judge(context, client.ask(context.db, self.packed(), self.COMMANDS))

    def judge(self, context: Context, replies: list[Any]) -> Allowlist:
        """The allowlist in force, from the replies to :meth:`packed`; tells of a change."""
        clock = context.clock
        universe = self._cache.current(
            context.db, replies, now_s=clock.now_s(), monotonic_s=clock.monotonic_s()
        )
        allowlist = choose(universe, self._settings, self.last)
        if allowlist.state != self._told:
            self._told = allowlist.state
            self._tell(context, allowlist)
        self._cache.take_news()
        self.last = allowlist
        return allowlist

    def _tell(self, context: Context, allowlist: Allowlist) -> None:
        news = self._cache.take_news()
        log = context.log.info if allowlist.source == "universe" else context.log.warning
        log(
            f"Allowlist source={allowlist.source}",
            source=allowlist.source,
            reason=allowlist.code,
            detail=allowlist.reason,
            count=len(allowlist.symbols),
            epoch=allowlist.epoch,
            age_s=round(allowlist.age_s, 1),
            mode=allowlist.mode,
            close_only=len(allowlist.close_only),
            news=[{"epoch": one.epoch, "added": one.added, "removed": one.removed} for one in news],
        )
        context.vitals.update(
            allowlist_source=allowlist.source,
            allowlist_reason=allowlist.code,
            allowlist_count=len(allowlist.symbols),
            universe_epoch=allowlist.epoch,
        )
