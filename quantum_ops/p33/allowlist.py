"""The only place that says which symbols P3.3 allows, and on whose word. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Literal

import msgspec

from quantum_ops.p33.amounts import amount, is_multiple
from quantum_ops.settings import P33Settings
from quantum_ops.universe import Universe

_NONE: Mapping[str, Mapping[str, str]] = {}
Source = Literal["universe", "fallback"]


class Steps:
    """Step of quantities in contracts, by symbol; ``rows`` are the universe's attributes.

    A market order must lie on the market step, too; where that is a multiple of the plain one it
    is the step. Each symbol is worked out once.
    """

    def __init__(self, rows: Mapping[str, Mapping[str, str]]) -> None:
        self.rows = rows
        self._known: dict[str, Decimal | None] = {}

    def of(self, symbol: str) -> Decimal | None:
        """The step of ``symbol``; None if it is not known."""
        try:
            return self._known[symbol]
        except KeyError:
            row = self.rows.get(symbol)
            if row is None:
                return None  # not kept: anybody can name symbols that do not exist
            step = self._known[symbol] = _step(row)
            return step


class Allowlist(msgspec.Struct, frozen=True):
    """The symbols in force. ``code`` says why this source: ``fresh``, or why it is the fallback.

    ``close_only`` symbols may only be reduced, whether or not they are among ``symbols``. ``steps``
    knows none if the universe's attributes cannot be believed. ``age_s`` counts from the producer's
    last check.
    """

    source: Source
    code: str
    reason: str
    symbols: frozenset[str]
    close_only: frozenset[str]
    steps: Steps
    epoch: int
    age_s: float
    mode: str

    @property
    def state(self) -> tuple[object, ...]:
        """What is told when it changes; ages change all the time and take no part in it."""
        return self.source, self.code, self.epoch, self.symbols, self.close_only


def mode_of(settings: P33Settings) -> str:
    """The network whose universe is believed."""
    return settings.mode or settings.universe_mode


def choose(universe: Universe, settings: P33Settings, before: Allowlist | None = None) -> Allowlist:
    """The universe if it is fresh, else P33_ALLOWLIST, which may be empty. Never an old list.

    Attributes of a universe that is merely old still count, as they can only deny more: a step that
    has changed gets an order refused, and what was leaving trade is not opened again. ``before`` is
    the allowlist of the last look; what was worked out of the same attributes is taken over.
    """
    believed = universe.mode == mode_of(settings) and not universe.damage
    rows = universe.attributes if believed else _NONE
    same = before is not None and before.steps.rows is rows
    fresh = universe.status == "fresh" and settings.universe_enable
    if not settings.universe_enable:
        code, reason = "disabled", "UNIVERSE_ENABLE is false"
    elif fresh:
        code, reason = "fresh", ""
    else:
        code, reason = universe.code, universe.reason
    return Allowlist(
        source="universe" if fresh else "fallback",
        code=code,
        reason=reason,
        symbols=universe.symbols if fresh else frozenset(settings.allowlist),
        close_only=universe.close_only if believed else frozenset(),
        steps=before.steps if before is not None and same else Steps(rows),
        epoch=universe.epoch,
        age_s=universe.age_s,
        mode=universe.mode,
    )


def _step(row: Mapping[str, str]) -> Decimal | None:
    step = _positive(row.get("step_size", ""))
    market = _positive(row.get("market_step_size", ""))
    if step and market and market > step and is_multiple(market, step):
        return market
    return step


def _positive(text: str) -> Decimal | None:
    try:
        value = amount(text)
    except ValueError:
        return None
    return value if value > 0 else None
