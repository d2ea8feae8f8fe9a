"""The only place that tells one plan's story from the entries about it. Pure.

Steps stand in the order of their ids: the server's clock when each was added, which is no proof of
what happened first, but what everybody saw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from quantum_ops import order_id, streams
from quantum_ops.errors import DecodeError
from quantum_ops.events import (
    ApplyPlan,
    ApplyResult,
    DeployCompleted,
    Event,
    PermitDecided,
    UniverseChanged,
)
from quantum_ops.history.entry import Entry

ASKING = frozenset({"EXECUTE", "RECONCILE_CLOSE"})
"""Decisions of a plan on which a gate decides; the others ask for nothing."""
ORDER = [
    streams.UNIVERSE_CHANGED.key, streams.DEPLOY_COMPLETED.key, streams.APPLY_PLAN.key,
    streams.PERMIT_DECIDED.key, streams.APPLY_RESULT.key, streams.AUDIT_FINDING.key,
    streams.DEAD_LETTER.key,
]  # fmt: skip
"""Of entries with one id, which stands first."""


class Told(NamedTuple):
    """An entry, and its number in the archive; None if only the server has it."""

    entry: Entry
    at: int | None


class Step(NamedTuple):
    """One thing that happened: an entry, what it says, and what the story adds to it.

    ``more`` is for people and may hold hostile bytes: escape it.
    """

    kind: str
    told: Told
    detail: dict[str, Any]
    more: str = ""


class Standing(NamedTuple):
    """How the universe stood for the plan: ``reason`` if it was stale, and the entry that says so.

    ``closing`` says that the plan's symbol could only be closed.
    """

    stale: bool
    reason: str
    told: Told
    closing: bool = False


class Around(NamedTuple):
    """What was there beside the plan: the universe and how it stood (None: not known), deploys.

    ``operations`` is entry id of a deploy -> the ledger's operation id, and who says so.
    """

    universe: Told | None = None
    standing: Standing | None = None
    deploys: Sequence[Told] = ()
    operations: Mapping[str, tuple[str, Told]] = MappingProxyType({})


@dataclass
class Story:
    """The story of ``plan_id``. ``remarks`` say what is odd or missing in it.

    ``in_universe`` says whether the symbol was in the universe; None if one of them is not known.
    ``standing`` says how the universe stood.
    """

    plan_id: str
    steps: list[Step] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    symbol: str = ""
    epoch: int | None = None
    in_universe: bool | None = None
    standing: Standing | None = None
    beside: list[Told] = field(default_factory=list)

    @property
    def rests_on(self) -> list[tuple[str, str]]:
        """Stream and id of each entry in it, and of those ``beside`` that say more of them."""
        told = [*(step.told for step in self.steps), *self.beside]
        return list(dict.fromkeys((one.entry.stream, one.entry.id) for one in told))


def tell(plan_id: str, about: Sequence[Told], around: Around) -> Story:
    """The story, from every entry about the plan (in any order, each once) and what was around."""
    story = Story(plan_id, symbol=symbol_of(about))
    story.beside = [one for _, one in around.operations.values()]
    if around.standing:
        story.standing = around.standing
        story.beside.append(around.standing.told)
    told = [*about, *around.deploys]
    if around.universe:
        told.append(around.universe)
    for one in sorted(told, key=_place):
        story.steps.append(_step(one, story, around))
    _remark(story)
    _remark_universe(story)
    return story


def symbol_of(about: Sequence[Told]) -> str:
    """The plan's symbol, by its plan, else by what followed; empty if none tells it."""
    for kind in (ApplyPlan, PermitDecided, ApplyResult):
        for one in about:
            event = decoded(one.entry)
            if isinstance(event, kind) and event.symbol:
                return event.symbol
    return ""


def decoded(entry: Entry) -> Event | DecodeError:
    """The event of an entry, or why there is none."""
    try:
        return entry.event()
    except DecodeError as error:
        return error
    except KeyError as error:
        return DecodeError("", str(error.args[0]))


def _place(one: Told) -> tuple[tuple[int, int], int]:
    stream = one.entry.stream
    return one.entry.key, ORDER.index(stream) if stream in ORDER else len(ORDER)


def _step(one: Told, story: Story, around: Around) -> Step:
    event = decoded(one.entry)
    kind = streams.short(one.entry.stream)
    if isinstance(event, DecodeError):
        fields = [text.decode("utf-8", "backslashreplace") for text in one.entry.flat]
        problem = {"error": str(event), "fields": fields}
        return Step(kind, one, problem, f"unreadable: {event}")
    detail: dict[str, Any] = msgspec.to_builtins(event)
    more = ""
    if isinstance(event, UniverseChanged):
        story.epoch = event.epoch
        if story.symbol:
            story.in_universe = story.symbol in event.symbols
            closing = story.standing and story.standing.closing
            more = f"{story.symbol} is {'' if story.in_universe else 'NOT '}in it"
            more += ", and can only be closed" if closing else ""
        detail = {"epoch": event.epoch, "mode": event.mode, "count": event.count,
                  "sha256": event.sha256, "symbol_in_it": story.in_universe}  # fmt: skip
    elif isinstance(event, ApplyResult):
        found = detail["order_id_found"] = order_id.find(event)
        if event.executed and not found:
            more = "WITHOUT an order id"
        elif event.executed and found != event.order_id:
            more = f"order {found}"
    elif isinstance(event, DeployCompleted):
        detail["ledger"] = around.operations.get(one.entry.id, ("", one))[0]
        more = detail["ledger"] or "not in the ledger"
    return Step(kind, one, detail, more)


def _remark(story: Story) -> None:
    """Say what is odd, or missing."""
    by = _by_kind(story)
    plans, permits = by.get("apply.plan", []), by.get("permit.decided", [])
    results = by.get("apply.result", [])
    say = story.remarks.append
    if not plans:
        say("the plan itself is not known: only what names it")
    if len(plans) > 1:
        same = len({tuple(one.told.entry.flat) for one in plans}) == 1
        what = "the same each time" if same else "with DIFFERENT content"
        say(f"its id came {len(plans)} times, {what}: a gate decides the first one that it sees")
    asks = any(one.detail.get("decision") in ASKING for one in plans)
    if asks and not permits:
        say("no gate's decision on it is known")
    granted = any(one.detail.get("allow") for one in permits)
    denied = [one for one in permits if one.detail.get("allow") is False]
    executed = [one for one in results if one.detail.get("executed")]
    if plans and not results:
        say("no result of it is known")
    if plans and results and results[0].told.entry.key < plans[0].told.entry.key:
        say("a result stands BEFORE the plan: by the server's clock it was told first")
    if executed and denied and not granted:
        say(f"it was executed although {denied[0].detail['gate']} denied it")
    orders = sorted({one.detail["order_id_found"] for one in executed} - {""})
    if len(orders) > 1:
        say(f"{len(orders)} orders are told of: {', '.join(orders)}")
    unread = sum("fields" in one.detail for one in story.steps)
    if unread:
        say(f"{unread} of its entries cannot be read as what they should be")


def _remark_universe(story: Story) -> None:
    say = story.remarks.append
    if story.standing and story.standing.stale:
        say(f"the universe was STALE: {story.standing.reason or 'no reason was told'}")
    if story.epoch is None:
        say("no universe is known of that time")


def _by_kind(story: Story) -> dict[str, list[Step]]:
    found: dict[str, list[Step]] = {}
    for step in story.steps:
        found.setdefault(step.kind, []).append(step)
    return found
