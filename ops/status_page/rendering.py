"""The only place that turns a picture into the parts of the page. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ops.status_page import group_table, picture, spark
from ops.status_page.collector import Trend
from ops.status_page.markup import Markup, breakable, joined, tag, text
from ops.status_page.picture import Part, Picture
from ops.status_page.shapes import bad, clock, facts, moment, note, state, table
from ops.status_page.verdict import Reason, Verdict
from quantum_ops.audit.verdict import Verdict as Audit
from quantum_ops.audit.violations import Violation
from quantum_ops.events import UniverseChanged
from quantum_ops.ledger.summary import Summary
from quantum_ops.streams import short

SIGNS = {"OK": "✓", "attention": "!", "VIOLATION": "✕"}
MAX_REASONS = 8
MAX_NAMED = 12
MAX_VIOLATIONS = 20
MAX_DECIDED = 30
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
    every = {name: part(name, seen, trend, every_s) for name in TITLES}
    return {"verdict": verdict(verdict_, seen), **every}


def part(name: str, seen: Picture, trend: Trend, every_s: float) -> Markup:
    """The inside of one part."""
    ways: dict[str, Callable[[Any], Markup]] = {
        "universe": _universe,
        "groups": lambda found: group_table.shown(found, trend, every_s),
        "letters": _letters,
        "gates": _gates,
        "audit": _audit,
        "ledger": _ledger,
        "processes": _processes,
    }
    return _part(getattr(seen, name), ways[name])


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
    return joined(head, cure, tag("ul", *items, class_="reasons") if items else "", note(about))


def _reason(one: Reason | None) -> Markup:
    if one is None:
        return tag("span", "everything is seen and in order", class_="why")
    return tag("a", one.text, href=f"#{one.about}", class_="why")


def _todo(one: Reason) -> Markup:
    """Where it stands what to do, as it is found in a checkout."""
    if not one.runbook:
        return text("")
    return joined(" ", tag("span", f"docs/runbooks/{one.runbook}.md", class_="dim"))


def _part(found: Part[Any], shown: Callable[[Any], Markup]) -> Markup:
    if found.value is None or found.problem:
        told = [tag("strong", "unknown: "), found.problem]
        if found.last_s:
            told += ["; seen last ", moment(found.last_s)]
        return tag("p", *told, class_="unknown")
    return shown(found.value)


def _universe(seen: picture.UniverseSeen) -> Markup:
    found = seen.universe
    good = found.status == "fresh"
    # A damaged moment makes an age that is no number, and max() would make 0 of it.
    known = math.isfinite(found.age_s)
    age = joined(spark.seconds(max(0.0, found.age_s)), " ago") if known else "nobody knows when"
    others = f"{len(found.close_only)} close only, {found.quarantined} quarantined"
    rows: list[tuple[str, Any]] = [
        ("freshness", joined(state(found.status.upper(), good=good), " ", found.reason)),
        (
            "checked",
            joined(age, ", every ", spark.seconds(found.refresh_s)) if found.mode else "never",
        ),
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
    return joined(facts(rows), changes if seen.changes else note("nothing has changed yet"))


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


def _letters(seen: picture.LettersSeen) -> Markup:
    if not seen.count:
        return note("empty: nothing waits for anybody")
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
        tag("p", bad(f"{seen.count}{more} open"), f": {groups}"),
        table(("id", "consumer", "stream", "reason", "deliveries"), rows, "newest", wide=(2, 4)),
        note("one of them: ./run dlq show ID; put it back: ./run dlq requeue ID"),
    )


def _gates(seen: tuple[picture.Decided, ...]) -> Markup:
    if not seen:
        return note("nothing was decided in the last hour")
    total = sum(one.count for one in seen)
    permitted = sum(one.count for one in seen if one.allow)
    rows = [
        (
            one.gate,
            state("permit", good=True) if one.allow else "deny",
            breakable(one.reason),
            one.count,
        )
        for one in seen[:MAX_DECIDED]
    ]
    left = len(seen) - MAX_DECIDED
    return joined(
        tag("p", f"{total} plans: {permitted} permitted, {total - permitted} denied"),
        table(("gate", "decision", "reason", "plans"), rows, "decisions by reason", plain=(1, 3)),
        note(f"and {left} rarer ones") if left > 0 else "",
        note("why one plan was denied: ./run explain PLAN_ID"),
    )


def _audit(made: tuple[Audit, ...]) -> Markup:
    marks = {"PROVEN": True, "VIOLATED": False, "UNPROVEN": False}
    rows = [(one.name, state(one.state, good=marks[one.state]), one.detail) for one in made]
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
        return joined(verdicts_, note("no violation is open"))
    title = f"{len(found)} open violations" + (
        f", the newest {MAX_VIOLATIONS}" if len(found) > MAX_VIOLATIONS else ""
    )
    return joined(
        verdicts_,
        table(("finding", "what", "told"), shown, title, wide=(2,), plain=(2,)),
        note("settle one with: ./run audit settle ID --why TEXT"),
    )


def _violation(one: Violation) -> Sequence[Any]:
    finding = one.finding
    title = joined(breakable(finding.finding), " ", tag("span", one.finding_id, class_="dim plain"))
    what = joined(finding.subject, " ", tag("span", finding.detail, class_="dim"))
    return title, what, clock(one.at_ms / 1000)


def _ledger(seen: picture.LedgerSeen) -> Markup:
    if not seen.entries:
        return note("nothing was recorded yet")
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
        return tag("p", bad("no checkpoint covers anything yet"))
    signed = ", ".join(name for name, _ in seen.checkpoint.signatures)
    told = f"{seen.checkpoint.head.size} records proven by a checkpoint"
    return tag("p", f"{told}, {f'signed by {signed}' if signed else 'unsigned'}")


def _processes(seen: picture.ProcessesSeen) -> Markup:
    rows = [
        (row.name, state(row.ready, good=row.fine), row.state,
         "-" if row.up_s is None else spark.seconds(float(row.up_s)), row.detail)
        for row in seen.rows
    ]  # fmt: skip
    heads = ("process", "ready", "supervisord", "up", "detail")
    notes = [note(f"{name} is held {why}; ./run release {name}") for name, why in seen.held]
    shown = joined(table(heads, rows, "every process", wide=(2, 3), plain=(1, 2, 3)), *notes)
    if not seen.absent:
        return shown
    told = f"{seen.absent}: these are heartbeats only"
    return joined(tag("p", told, class_="unknown"), shown)
