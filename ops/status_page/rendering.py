"""The only place that turns a picture into the parts of the page. Pure."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ops.status_page import picture, spark
from ops.status_page.collector import Trend
from ops.status_page.markup import Markup, breakable, joined, tag, text
from ops.status_page.picture import Part, Picture
from ops.status_page.verdict import Reason, Verdict
from quantum_ops.audit.verdict import Verdict as Audit
from quantum_ops.audit.violations import Violation
from quantum_ops.events import UniverseChanged
from quantum_ops.lag import Lag
from quantum_ops.ledger.summary import Summary
from quantum_ops.streams import short

SIGNS = {"OK": "✓", "attention": "!", "VIOLATION": "✕"}
MAX_REASONS = 8
MAX_NAMED = 12
MAX_PLAIN = 24
MAX_VIOLATIONS = 20
TITLES = {
    "universe": "Universe",
    "groups": "Consumers",
    "letters": "Dead letter",
    "gates": "Gate decisions, last hour",
    "audit": "Audit",
    "ledger": "Ledger",
    "processes": "Processes",
}


def parts(seen: Picture, verdict_: Verdict, trend: Trend, every_s: float) -> dict[str, Markup]:
    """The inside of each part of the page, by its id."""
    return {
        "verdict": verdict(verdict_, seen),
        "universe": _part(seen.universe, _universe),
        "groups": _part(seen.groups, lambda found: _groups(found, trend, every_s)),
        "letters": _part(seen.letters, _letters),
        "gates": _part(seen.gates, _gates),
        "audit": _part(seen.audit, _audit),
        "ledger": _part(seen.ledger, _ledger),
        "processes": _part(seen.processes, _processes),
    }


def verdict(made: Verdict, seen: Picture) -> Markup:
    """The one line, every other reason below it, and when and where that was seen."""
    worst = made.reasons[0] if made.reasons else None
    mark = tag("span", SIGNS[made.word], class_="sign", aria_hidden="true")
    # The word alone is announced when it changes: reasons may change with every look.
    word = tag("span", made.word, class_="word", role="status")
    head = tag("p", mark, word, _reason(worst), class_=f"verdict {made.word.lower()}")
    cure = tag("p", "What to do:", _todo(worst), class_="note") if worst and worst.runbook else ""
    rest = made.reasons[1:]
    items = [tag("li", _reason(one), _todo(one)) for one in rest[:MAX_REASONS]]
    if len(rest) > MAX_REASONS:
        items.append(tag("li", f"and {len(rest) - MAX_REASONS} more"))
    where = f"{seen.profile or 'live'}, {seen.server.value or 'no server'}, seen "
    about = joined(where, moment(seen.taken_s))
    return joined(head, cure, tag("ul", *items, class_="reasons") if items else "", _note(about))


def moment(epoch_s: float) -> Markup:
    """A moment of today or of another day, in UTC."""
    at = time.gmtime(epoch_s)
    shown = time.strftime("%Y-%m-%d %H:%M:%S", at)
    return tag("time", f"{shown} UTC", datetime=time.strftime("%Y-%m-%dT%H:%M:%SZ", at))


def _reason(one: Reason | None) -> Markup:
    if one is None:
        return tag("span", "everything is seen and in order", class_="why")
    return tag("a", one.text, href=f"#{one.about}", class_="why")


def _todo(one: Reason) -> Markup:
    """Where it stands what to do, as it is found in a checkout."""
    if not one.runbook:
        return text("")
    return joined(" ", tag("span", f"docs/runbooks/{one.runbook}.md", class_="dim"))


def _part(part: Part[Any], shown: Callable[[Any], Markup]) -> Markup:
    if part.value is None or part.problem:
        told = [tag("strong", "unknown: "), part.problem]
        if part.last_s:
            told += ["; seen last ", moment(part.last_s)]
        return tag("p", *told, class_="unknown")
    return shown(part.value)


def _universe(seen: picture.UniverseSeen) -> Markup:
    found = seen.universe
    good = found.status == "fresh"
    age = joined(spark.seconds(max(0.0, found.age_s)), " ago, every ")
    others = f"{len(found.close_only)} close only, {found.quarantined} quarantined"
    rows: list[tuple[str, Any]] = [
        ("freshness", joined(_state(found.status.upper(), good=good), " ", found.reason)),
        ("checked", joined(age, spark.seconds(found.refresh_s)) if found.mode else "never"),
        ("symbols", f"{len(found.symbols)}, {others}"),
        ("epoch", f"{found.epoch}, {found.mode or 'unknown network'}"),
    ]
    if seen.held:
        rows.append(("held back", f"removal of {_named(seen.held)}; ./run universe held"))
    changes = table(
        ("epoch", "when", "symbols", "what changed"),
        map(_change, seen.changes),
        "latest changes",
        wide=(2,),
        plain=(0, 1, 2),
    )
    return joined(facts(rows), changes if seen.changes else _note("nothing has changed yet"))


def _change(event: UniverseChanged) -> Sequence[Any]:
    told = []
    kinds = {"added": event.added, "removed": event.removed, "close only": event.close_only}
    for kind, names in kinds.items():
        if names:
            told.append(f"{kind} {_named(names)}")
    others = [name for name in event.changed if name not in {*event.added, *event.removed}]
    if others:
        told.append(f"changed {_named(others)}")
    return (
        event.epoch,
        clock(event.occurred_at.timestamp()),
        event.count,
        "; ".join(told) or "no symbol: what is quarantined or held",
    )


def _named(names: Iterable[str]) -> str:
    every = list(names)
    shown = " ".join(every[:MAX_NAMED])
    return shown if len(every) <= MAX_NAMED else f"{shown} and {len(every) - MAX_NAMED} more"


def _groups(seen: picture.GroupsSeen, trend: Trend, every_s: float) -> Markup:
    if not seen.lags:
        return _note("no stream has a group")
    by_name: dict[str, list[Lag]] = {}
    for one in seen.lags:
        by_name.setdefault(one.group, []).append(one)
    # Who is furthest behind is what somebody looks for; unknown is further than all.
    ordered = sorted(by_name.items(), key=lambda item: (-max(map(_behind, item[1])), item[0]))
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
    return table(heads, rows, "lag of every consumer group", plain=(1, 2, 3, 4))


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
        return _bad("unknown"), _bad("no group yet" if missing else "cannot be told"), pending
    entries = sum(one.entries or 0 for one in lags)
    ways = {one.exactness for one in lags}
    shown: Any = tag("span", entries, title="exact")
    if "atleast" in ways:
        shown = tag("span", f"≥ {entries}", title="counting has a limit")
    elif "counted" in ways:
        shown = joined(entries, tag("span", " counted", class_="dim"))
    lost = sum(one.lost or 0 for one in lags)
    if lost:
        shown = joined(shown, " ", _bad(f"{lost} lost"))
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


def _letters(seen: picture.LettersSeen) -> Markup:
    if not seen.count:
        return _note("empty: nothing waits for anybody")
    groups = ", ".join(
        f"{count} of {group} on {short(stream)}"
        for (stream, group), count in sorted(seen.by_group.items())[:MAX_NAMED]
    )
    rows = [
        (
            id_,
            breakable(letter.group),
            short(letter.stream),
            breakable(letter.reason),
            letter.deliveries,
        )
        for id_, letter in seen.newest
    ]
    more = " and more" if seen.more else ""
    return joined(
        tag("p", _bad(f"{seen.count}{more} open"), f": {groups}"),
        table(("id", "consumer", "stream", "reason", "deliveries"), rows, "newest", wide=(2, 4)),
        _note("one of them: ./run dlq show ID; put it back: ./run dlq requeue ID"),
    )


def _gates(seen: tuple[picture.Decided, ...]) -> Markup:
    if not seen:
        return _note("nothing was decided in the last hour")
    total = sum(one.count for one in seen)
    permitted = sum(one.count for one in seen if one.allow)
    rows = [
        (
            one.gate,
            _state("permit", good=True) if one.allow else "deny",
            breakable(one.reason),
            one.count,
        )
        for one in seen
    ]
    return joined(
        tag("p", f"{total} plans: {permitted} permitted, {total - permitted} denied"),
        table(("gate", "decision", "reason", "plans"), rows, "decisions by reason", plain=(1, 3)),
        _note("why one plan was denied: ./run explain PLAN_ID"),
    )


def _audit(made: tuple[Audit, ...]) -> Markup:
    marks = {"PROVEN": True, "VIOLATED": False, "UNPROVEN": False}
    rows = [(one.name, _state(one.state, good=marks[one.state]), one.detail) for one in made]
    found = sorted(
        (violation for one in made for violation in one.violations),
        key=lambda one: one.at_ms,
        reverse=True,
    )
    shown = [_violation(one) for one in found[:MAX_VIOLATIONS]]
    verdicts_ = table(
        ("claim", "verdict", "what it says"), rows, "what can be proven", plain=(0, 1)
    )
    if not found:
        return joined(verdicts_, _note("no violation is open"))
    title = f"{len(found)} open violations" + (
        f", the newest {MAX_VIOLATIONS}" if len(found) > MAX_VIOLATIONS else ""
    )
    return joined(
        verdicts_,
        table(("finding", "what", "told"), shown, title, wide=(2,), plain=(2,)),
        _note("settle one with: ./run audit settle ID --why TEXT"),
    )


def _violation(one: Violation) -> Sequence[Any]:
    finding = one.finding
    title = joined(breakable(finding.finding), " ", tag("span", one.finding_id, class_="dim plain"))
    what = joined(finding.subject, " ", tag("span", finding.detail, class_="dim"))
    return title, what, clock(one.at_ms / 1000)


def _ledger(seen: picture.LedgerSeen) -> Markup:
    if not seen.entries:
        return _note("nothing was recorded yet")
    rows = [_entry(one) for one in seen.entries]
    heads = ("when", "entry", "outcome", "what", "by")
    return joined(_covered(seen), table(heads, rows, "latest entries", wide=(4,), plain=(2,)))


def _entry(one: Summary) -> Sequence[Any]:
    title = one.id or f"record {one.seq}"
    link = tag("a", title, href=f"/ledger/{one.seq}")
    what = one.operation or one.changes_summary or one.file or one.kind
    if one.rolled_back_by:
        what = f"{what} (rolled back by {', '.join(one.rolled_back_by)})"
    when = one.occurred_at[:16].replace("T", " ")
    by = one.approved_by or one.requested_by or one.host
    return when, link, one.outcome or one.kind, text(what, 160), by


def _covered(seen: picture.LedgerSeen) -> Markup:
    if seen.checkpoint is None:
        return tag("p", _bad("no checkpoint covers anything yet"))
    signed = ", ".join(name for name, _ in seen.checkpoint.signatures)
    told = f"{seen.checkpoint.head.size} records proven by a checkpoint"
    return tag("p", f"{told}, {f'signed by {signed}' if signed else 'unsigned'}")


def _processes(seen: picture.ProcessesSeen) -> Markup:
    rows = [
        (row.name, _state(row.ready, good=row.fine), row.state,
         "-" if row.up_s is None else spark.seconds(float(row.up_s)), row.detail)
        for row in seen.rows
    ]  # fmt: skip
    heads = ("process", "ready", "supervisord", "up", "detail")
    notes = [_note(f"{name} is held {why}; ./run release {name}") for name, why in seen.held]
    shown = joined(table(heads, rows, "every process", wide=(2, 3), plain=(1, 2, 3)), *notes)
    if not seen.absent:
        return shown
    told = f"{seen.absent}: these are heartbeats only"
    return joined(tag("p", told, class_="unknown"), shown)


def table(
    heads: Sequence[str],
    rows: Iterable[Sequence[Any]],
    caption: str,
    wide: Sequence[int] = (),
    plain: Sequence[int] = (),
) -> Markup:
    """A table with its name.

    The columns ``wide`` are left out where there is no room for them. What is short in a column
    that is ``plain`` is never broken in two.
    """

    def cells(name: str, row: Sequence[Any], **more: str) -> Iterable[Markup]:
        for at, cell in enumerate(row):
            is_plain = (at in plain or isinstance(cell, int)) and _is_short(cell)
            words = ["wide"] * (at in wide) + ["plain"] * is_plain
            yield tag(name, cell, class_=" ".join(words) or None, **more)

    body = [tag("tr", *cells("td", row)) for row in rows]
    return tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", *cells("th", heads, scope="col"))),
        tag("tbody", *body),
    )


def _is_short(cell: Any) -> bool:
    """Whether a cell holds no more than a word or two; what a stranger wrote may be longer."""
    return len(re.sub("<[^>]*>", "", text(cell))) <= MAX_PLAIN


def facts(rows: Iterable[tuple[str, Any]]) -> Markup:
    """Names and what they are."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in rows))


def clock(epoch_s: float) -> Markup:
    """A moment, short: the day stands in ``datetime`` for whoever wants it."""
    at = time.gmtime(epoch_s)
    shown = time.strftime("%m-%d %H:%M:%S", at)
    return tag("time", shown, datetime=time.strftime("%Y-%m-%dT%H:%M:%SZ", at))


def _state(word: str, *, good: bool) -> Markup:
    return tag("span", word, class_="good" if good else "bad")


def _bad(words: str) -> Markup:
    return tag("strong", words, class_="bad")


def _note(words: Any) -> Markup:
    return tag("p", words, class_="note")
