"""The only place that words the ledger's entries for people and for programs."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

from ops.terminal import safe
from quantum_ops.ledger import canonical, checkpoint, emitter, fields, merkle, summary
from quantum_ops.ledger.lookup import Found, Lookup
from quantum_ops.ledger.summary import Summary

HEADER = f"{'WHEN (UTC)':<16}  {'OPERATION ID':<18}  {'OUTCOME':<8}  {'RISK':<16}  {'BY':<12}  WHAT"


def row(one: Summary, width: int = 0) -> str:
    """One line of the list, cut to ``width`` columns if it is not 0."""
    # Of a hand-written entry often only the day is known.
    day_only = one.kind == summary.ADOPTED and one.occurred_at.endswith("T00:00:00Z")
    when = one.occurred_at[: 10 if day_only else 16].replace("T", " ")
    cells = (
        f"{safe(when):<16}  {safe(one.id, 24) or '-':<18}  {safe(_outcome(one), 12):<8}  "
        f"{safe(one.risk_class, 40) or '-':<16}  {safe(one.requested_by, 24) or '-':<12}  "
        f"{safe(_what(one), 1000)}"
    )
    return cut(cells, width) if width else cells


def cut(text: str, width: int) -> str:
    """``text`` in so many columns of a terminal, where some characters take two or none."""
    used = 0
    for at, char in enumerate(text):
        if unicodedata.combining(char):
            continue
        used += 2 if unicodedata.east_asian_width(char) in "WF" else 1
        if used > width:
            # The sign of the cut takes a column, of which a wide character may leave two.
            kept = text[:at]
            while kept and _columns(kept) > width - 1:
                kept = kept[:-1]
            return f"{kept}…"
    return text


def block(record: Mapping[str, Any], by: tuple[str, ...] = ()) -> str:
    """A record as the changelog shows it: one YAML document."""
    data = record["data"]
    if record["type"] != "operation.recorded":
        data = {**data, "record": record["type"]}
    elif by:
        data = {**data, "rolled_back_by": ", ".join(by)}
    return emitter.block(fields.ordered(data))


def where(lookup: Lookup, found: Found, newest: checkpoint.Checkpoint | None) -> dict[str, Any]:
    """Where a record stands, as the fields of ``show --json`` beyond those of the list."""
    record = canonical.load(found.line)
    by, conflicts = lookup.about(found) if record["type"] == "operation.recorded" else ((), ())
    covers = newest if newest and newest.head.size >= found.seq else None
    return {
        **summary.of(record, by).to_json(),
        "segment": found.place.segment,
        "line": lookup.line_number(found),
        "leaf_sha256": merkle.leaf(found.line).hex(),
        "conflicts": list(conflicts),
        "checkpoint": covers
        and {
            "origin": covers.origin,
            "size": covers.head.size,
            "root_sha256": covers.head.root.hex(),
            "signed_by": [name for name, _ in covers.signatures],
        },
        "data": record["data"],
    }


def entry(record: Mapping[str, Any], told: Mapping[str, Any]) -> str:
    """One record for people: its block, then where it stands as comments, so that it stays YAML."""
    source = f"{told['stream']}/{told['stream_id']}" if told["stream"] else "no stream"
    rows = [
        f"record {told['seq']}: line {told['line']} of {told['segment']}",
        f"recorded {told['recorded_at']} on {told['host'] or 'an unknown host'}, from {source}",
        f"leaf {told['leaf_sha256']}",
        _covered(told["checkpoint"]),
    ]
    if told["rolled_back_by"]:
        rows.append(f"rolled back by {', '.join(told['rolled_back_by'])}")
    if told["conflicts"]:
        numbers = ", ".join(str(one) for one in told["conflicts"])
        rows.append(f"other content came under its id: record {numbers}, not in force")
    if told["conflicts_with"] is not None:
        rows.append(f"NOT IN FORCE: {_other(told['conflicts_with'])}")
    return block(record, tuple(told["rolled_back_by"])) + "".join(
        f"# {safe(one, 1000)}\n" for one in rows
    )


def adopted(one: Summary, told: Mapping[str, Any]) -> str:
    """An entry from before the ledger, for people."""
    by = f"# rolled back by {', '.join(one.rolled_back_by)}\n" if one.rolled_back_by else ""
    return (
        f"{emitter.block(dict(told))}"
        f"# from before the ledger: {safe(one.file)}, adopted byte for byte from record {one.seq} "
        f"on; it has no line of its own\n{by}"
    )


def _outcome(one: Summary) -> str:
    return one.outcome or "-" if one.kind in (summary.OPERATION, summary.ADOPTED) else one.kind


def _what(one: Summary) -> str:
    if one.kind == summary.DRIFT:
        return f"{one.file} was edited by somebody else and left as it is (record {one.seq})"
    if one.kind == summary.REJECTED:
        return f"[NOT IN FORCE: {_other(one.conflicts_with or 0)}; record {one.seq}] {_name(one)}"
    marks = [f"rolled back by {by}" for by in one.rolled_back_by]
    marks += [f"rolls back {one.rollback_of}"] if one.rollback_of else []
    marks += ["evidence incomplete"] if one.evidence == "incomplete" else []
    marks += ["before the ledger"] if one.kind == summary.ADOPTED else []
    shown = f"[{'; '.join(marks)}] " if marks else ""
    return shown + _name(one)


def _name(one: Summary) -> str:
    return one.operation or one.changes_summary or one.kind


def _other(seq: int) -> str:
    return f"its id belongs to record {seq}" if seq else "its id is of before the ledger"


def _covered(found: Mapping[str, Any] | None) -> str:
    if not found:
        return "no checkpoint covers it yet"
    signed = ", ".join(found["signed_by"])
    by = f"signed by {signed}" if signed else "unsigned"
    return f"checkpoint of {found['size']} records, root {found['root_sha256'][:16]}, {by}"


def _columns(text: str) -> int:
    return sum(
        0 if unicodedata.combining(char)
        else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )  # fmt: skip
