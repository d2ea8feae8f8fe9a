"""The only place that words the story of a plan, for people and for programs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ops import event_lines
from ops.output import Paint
from ops.terminal import safe
from quantum_ops.history.story import Step, Story

LINE = 600
LATER = "only in Redis yet"


def lines(story: Story, notes: list[str], paint: Paint) -> list[str]:
    """The story as a timeline."""
    title = f"plan {safe(story.plan_id)}{f' in {safe(story.symbol)}' if story.symbol else ''}"
    rows = [paint(title, "head"), ""]
    rows += [_row(step, paint) for step in story.steps]
    if story.remarks:
        rows += ["", *(paint(f"! {safe(remark, LINE)}", "warn") for remark in story.remarks)]
    if notes:
        rows += ["", *(paint(f"note: {safe(note, LINE)}", "dim") for note in notes)]
    return rows


def _row(step: Step, paint: Paint) -> str:
    one = step.told.entry
    text, meaning = event_lines.summary(one.stream, one.flat)
    late = f"  ({LATER})" if step.told.at is None else ""
    said = f"{text}{f'; {safe(step.more, LINE)}' if step.more else ''}"
    return (
        f"{moment(one.ms)}  {paint(f'{safe(step.kind):<16}', 'name')}  {paint(said, meaning)}  "
        f"[{safe(one.id)}]{late}"
    )


def as_object(story: Story, notes: list[str]) -> dict[str, Any]:
    """The story as one JSON object; docs/explain.md tells its fields."""
    return {
        "plan_id": story.plan_id,
        "symbol": story.symbol,
        "universe_epoch": story.epoch,
        "symbol_in_universe": story.in_universe,
        "universe_stale": story.standing.stale if story.standing else None,
        "close_only": story.standing.closing if story.standing else None,
        "steps": [
            {
                "at": moment(step.told.entry.ms),
                "stream": step.told.entry.stream,
                "id": step.told.entry.id,
                "entry": step.told.at,
                "what": event_lines.summary(step.told.entry.stream, step.told.entry.flat)[0],
                "more": step.more,
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
