"""The only place that shows answers about then to people: lines, fit for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ops import asking
from ops.terminal import safe
from quantum_ops import streams
from quantum_ops.asof.changes import Difference, History, Side
from quantum_ops.asof.entries import Answer
from quantum_ops.asof.ledger import Ledger, Record
from quantum_ops.asof.orders import Order
from quantum_ops.asof.permits import Decided, Permits, Plan, Told
from quantum_ops.asof.universe import Universe

SHOWN = 20
MOST_RESTS = 40


def universe(one: Universe) -> Iterator[str]:
    """The universe and who says so."""
    why = f": {one.reason}" if one.reason else ""
    yield _row("status", f"{one.status}{why}", one.told)
    yield _row("epoch", f"{one.epoch}, {one.mode}", one.changed)
    yield _row("symbols", _some(one.symbols))
    yield _row("close only", _some(one.close_only))
    yield _row("quarantined", _some([f"{name} ({why})" for name, why in one.quarantined.items()]))
    if one.held:
        yield _row("held", one.held)
    if one.gate:
        yield _row("p33", f"decided last on epoch {one.gate_epoch}", one.gate)
    for doubt in one.doubts:
        yield _row("doubt", doubt)
    yield from _rests(one)


def permits(one: Permits) -> Iterator[str]:
    """A plan, what became of it, and why."""
    yield _row("verdict", f"{one.verdict}: {one.why}")
    for plan in one.plans:
        yield _plan(plan)
    if one.symbol:
        yield _row("symbol", _symbol(one))
    for decided in one.decisions:
        yield _decided(decided)
    for gate, permit in one.permits.items():
        detail = f" ({permit.detail})" if permit.detail else ""
        yield _row("permit", f"{gate} {permit.state}{detail}", permit.id)
    for result in one.results:
        done = "executed" if result.executed else "not executed"
        order = f", order {result.order_id}" if result.order_id else ""
        error = f": {result.error}" if result.error else ""
        yield _row("result", f"{done}{order}{error}", result.id)
    yield from map(_finding, one.findings)
    for letter in one.dead_letters:
        yield _row("dead letter", "see ./run dlq show", letter)
    yield from _rests(one)


def order(one: Order) -> Iterator[str]:
    """The results that name the order, and the plans that they are of."""
    for result in one.executions:
        told = "executed" if result.executed else "not executed"
        told = told if result.readable else "unreadable"
        yield _row("result", f"{result.symbol} {told}, named in {result.where}", result.id)
        yield _row("plan id", result.plan_id or "-")
        yield from map(_plan, result.plans)
        yield from map(_decided, result.decisions)
        yield from map(_finding, result.findings)
    yield from _rests(one)


def ledger(one: Ledger) -> Iterator[str]:
    """The newest records, newest first."""
    yield _row("records", f"{one.records}", one.head)
    yield _row("tree", f"{one.tree_size} {one.root_sha256}")
    yield ""
    yield f"{'SEQ':>6}  {'TOLD OF':<24}  {'OPERATION ID':<20}  {'OUTCOME':<9}  OPERATION"
    yield from map(_record, one.entries)
    for seq in one.untold[:SHOWN]:
        yield f"{seq:>6}  the archive was not told of it"
    yield ""
    yield from _rests(one)


def difference(one: Difference) -> Iterator[str]:
    """What came, went and changed."""
    yield _row("from", _side(one.before))
    yield _row("to", f"{_side(one.after)}, {one.changes} changes between")
    yield from (f"+ {safe(name)}" for name in one.added)
    yield from (f"- {safe(name)}" for name in one.removed)
    for name, rows in one.changed.items():
        told = (f"{field} {old or '-'} -> {new or '-'}" for field, (old, new) in rows.items())
        yield f"~ {safe(name)}  {safe(', '.join(told))}"
    yield from (f"! {safe(name)}  close only" for name in one.close_only)
    yield from (f"? {safe(name)}  quarantined: {safe(w)}" for name, w in one.quarantined.items())
    yield from (f"? {safe(name)}  no longer quarantined" for name in one.released)
    if not (one.added or one.removed or one.changed or one.close_only or one.quarantined
            or one.released):  # fmt: skip
        yield "no difference"
    yield from _rests(one)


def history(one: History) -> Iterator[str]:
    """One line for each thing that happened."""
    for step in one.steps:
        detail = f"  {safe(step.detail)}" if step.detail else ""
        yield f"{asking.of(step.id)}  {step.id:<20}  epoch {step.epoch:<6}  {step.what}{detail}"
    yield f"{safe(one.symbol)} is {'in' if one.listed else 'not in'} the universe"


def _symbol(one: Permits) -> str:
    symbol = one.symbol
    if symbol is None:
        return "-"
    known = {True: "allowed", False: "not allowed", None: "not looked at"}[symbol.allowed]
    if symbol.listed is None:
        where = f"the universe of epoch {symbol.epoch} is not in the archive"
    else:
        where = f"{'in' if symbol.listed else 'not in'} the universe of epoch {symbol.epoch}"
    closing = ", close only" if symbol.close_only else ""
    return f"{symbol.name} {known}; {where} ({symbol.status}){closing}"


def _plan(one: Plan) -> str:
    reduces = " reduceOnly" if one.reduce_only else ""
    odd = "" if one.readable else ", malformed"
    told = f"{one.symbol} {one.decision} {one.action} {one.side} {one.qty}{reduces}{odd}"
    return _row("plan", " ".join(told.split()), one.id)


def _decided(one: Decided) -> str:
    allow = f"ALLOW {one.safe_qty}" if one.allow else "deny"
    return _row(
        "decision", f"{one.gate} {allow} {one.reason} on epoch {one.universe_epoch}", one.id
    )


def _finding(one: Told) -> str:
    return _row("finding", f"{one.severity} {one.finding} by {one.auditor}: {one.detail}", one.id)


def _record(one: Record) -> str:
    told = f"{one.seq:>6}  {asking.of(one.id):<24}  {safe(one.operation_id, 20):<20}"
    told += f"  {safe(one.outcome, 9):<9}  {safe(one.operation or one.type, 60)}"
    for undone in one.rolled_back_by:
        told += f"  <- rolled back by {safe(undone.operation_id, 40)} (record {undone.seq})"
    return told


def _side(one: Side) -> str:
    if one.changed is None:
        return "nothing was told of a universe by then"
    moment = asking.of(one.changed)
    return f"epoch {one.epoch}, {one.count} symbols, {one.mode}, {one.status}, since {moment}"


def _row(name: str, value: str, id_: str = "") -> str:
    told = f"{name:<12} {safe(value)}"
    return f"{told}  [{asking.of(id_)} {id_}]" if id_ else told.rstrip()


def _some(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > SHOWN else ""
    return f"{len(names)}  {', '.join(names[:SHOWN])}{more}".rstrip()


def _rests(one: Answer) -> Iterator[str]:
    """The entries that it rests on, by stream."""
    by_stream: dict[str, list[str]] = {}
    for stream, id_ in one.rests_on:
        by_stream.setdefault(streams.short(stream), []).append(id_)
    for stream, ids in sorted(by_stream.items()):
        yield _row("rests on", f"{stream} {_ids(ids)}")


def _ids(ids: Iterable[str]) -> str:
    known = list(ids)
    more = f" and {len(known) - MOST_RESTS} more (--json)" if len(known) > MOST_RESTS else ""
    return " ".join(known[:MOST_RESTS]) + more
