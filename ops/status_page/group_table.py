"""The only place that shows how far consumers are behind: a row each, furthest behind first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ops.status_page import spark
from ops.status_page.collector import Trend
from ops.status_page.markup import Markup, breakable, joined, tag
from ops.status_page.picture import GroupsSeen
from ops.status_page.shapes import bad, note, table
from quantum_ops.lag import Lag
from quantum_ops.streams import short

MAX_STRANGERS = 20


def shown(seen: GroupsSeen, trend: Trend, every_s: float) -> Markup:
    """The table: ours, then a few of strangers; ``trend`` gives the line of each."""
    if not seen.lags:
        return note("no stream has a group")
    by_name: dict[str, list[Lag]] = {}
    for one in seen.lags:
        by_name.setdefault(one.group, []).append(one)
    # Who is furthest behind is what somebody looks for; unknown is further than all.
    ordered = sorted(by_name.items(), key=lambda item: (-max(map(_behind, item[1])), item[0]))
    names = {group for _, group in seen.ours}
    strangers = [item for item in ordered if item[0] not in names]
    ordered = [item for item in ordered if item[0] in names] + strangers[:MAX_STRANGERS]
    rows: list[Sequence[Any]] = []
    for group, lags in ordered:
        lags.sort(key=lambda one: (-_behind(one), one.stream))
        ours = any((one.stream, group) in seen.ours for one in lags)
        line = spark.spark(_worst(trend, lags), every_s)
        rows.append((_who(group, lags, ours=ours), *_lag(lags), line))
        if len(lags) > 1:
            # Of many streams only those that hold something back are worth a row.
            held = [one for one in lags if one.left or _behind(one) == float("inf") or one.lost]
            rows += [(tag("span", f"on {short(one.stream)}", class_="dim"), *_lag([one]), "")
                     for one in held]  # fmt: skip
    heads = ("consumer", "behind", "not read", "pending", "trend")
    made = table(heads, rows, "lag of every consumer group", plain=(1, 2, 3, 4))
    left = len(strangers) - MAX_STRANGERS
    return joined(made, note(f"and {left} more that are not ours")) if left > 0 else made


def _behind(one: Lag) -> float:
    return float("inf") if one.behind_s is None or one.entries is None else one.behind_s


def _who(group: str, lags: Sequence[Lag], *, ours: bool) -> Markup:
    reads = breakable(short(lags[0].stream)) if len(lags) == 1 else f"{len(lags)} streams"
    told = reads if ours else joined(reads, ", not ours")
    return joined(breakable(group), " ", tag("span", told, class_="dim"))


def _lag(lags: Sequence[Lag]) -> tuple[Any, Any, Any]:
    """Behind, not read and pending, of one stream or of all that a consumer reads."""
    pending = sum(one.pending for one in lags)
    unknown = [one for one in lags if _behind(one) == float("inf")]
    if unknown:
        missing = all(one.delivered is None for one in unknown)
        return bad("unknown"), bad("no group yet" if missing else "cannot be told"), pending
    entries = sum(one.entries or 0 for one in lags)
    ways = {one.exactness for one in lags}
    shown: Any = tag("span", entries, title="exact")
    if "atleast" in ways:
        shown = tag("span", f"≥ {entries}", title="counting has a limit")
    elif "counted" in ways:
        shown = joined(entries, tag("span", " counted", class_="dim"))
    lost = sum(one.lost or 0 for one in lags)
    if lost:
        shown = joined(shown, " ", bad(f"{lost} lost"))
    return spark.seconds(max(map(_behind, lags))), shown, pending


def _worst(trend: Trend, lags: Sequence[Lag]) -> list[float | None]:
    """The past of the stream that was furthest behind at each look; unknown if one was."""
    pasts = [trend.get((one.stream, one.group), ()) for one in lags]
    length = max(map(len, pasts))
    padded = [(None,) * (length - len(past)) + tuple(past) for past in pasts]
    return [
        None if None in look else max(value for value in look if value is not None)
        for look in zip(*padded, strict=True)
    ]
