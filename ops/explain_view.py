"""The only place that words the story of a plan, for people and for programs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ops.terminal import safe
from quantum_ops.history.story import Step, Story

LINE = 600
LATER = "only in Redis yet"


def lines(story: Story, notes: list[str]) -> list[str]:
    """The story as a timeline."""
    rows = [f"plan {safe(story.plan_id)}{f' in {safe(story.symbol)}' if story.symbol else ''}", ""]
    rows += [_row(step) for step in story.steps]
    rows += ["", *(f"! {safe(remark, LINE)}" for remark in story.remarks)] if story.remarks else []
    rows += ["", *(f"note: {safe(note, LINE)}" for note in notes)] if notes else []
    return rows


def _row(step: Step) -> str:
    one = step.told
    late = f"  ({LATER})" if one.at is None else ""
    told = f"{safe(step.kind):<16}  {safe(step.text, LINE)}  [{safe(one.entry.id)}]{late}"
    return f"{moment(one.entry.ms)}  {told}"


def as_object(story: Story, notes: list[str]) -> dict[str, Any]:
    """The story as one JSON object; docs/explain.md tells its fields."""
    return {
        "plan_id": story.plan_id,
        "symbol": story.symbol,
        "universe_epoch": story.epoch,
        "symbol_in_universe": story.in_universe,
        "steps": [
            {
                "at": moment(step.told.entry.ms),
                "stream": step.told.entry.stream,
                "id": step.told.entry.id,
                "entry": step.told.at,
                "what": step.text,
                "event": step.detail,
            }
            for step in story.steps
        ],
        "remarks": story.remarks,
        "notes": notes,
        "rests_on": [list(pair) for pair in story.rests_on],
    }


def moment(ms: int) -> str:
    """Epoch milliseconds as UTC; an id that is no time of ours is shown as it is."""
    try:
        found = datetime.fromtimestamp(ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return str(ms)
    return f"{found:%Y-%m-%d %H:%M:%S}.{ms % 1000:03d}"
