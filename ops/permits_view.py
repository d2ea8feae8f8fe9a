"""The only place that words the audit of permits, as ops/lib/permits.sh does without Python."""

from __future__ import annotations

import json

from ops.ascii import quoted, shown
from quantum_ops.audit import sight
from quantum_ops.audit.census import Census, Sample

FRAME = "═" * 59
TITLES = {sight.GOVERNOR: "GOVERNOR", sight.P26: "P2.6", sight.P33: "P3.3"}
WIDEST, DEEPEST, LINE = 512, 4096, 200
PRESENT, MISSING = 0, 2


def exit_code(census: Census) -> int:
    """What the script promises: 0 with all three, 2 with one missing."""
    return MISSING if census.missing else PRESENT


def as_text(census: Census) -> str:
    """The frame of the owner's specification, with samples under their gate."""
    rows = [FRAME, "Quantum Trader 3-Permit Gate Infrastructure Audit", FRAME]
    rows += [f"Total Permits: {sum(census.counts.values())}", ""]
    for gate, title in TITLES.items():
        rows.append(f"{title + ' PERMITS:':<17} {census.counts[gate]} keys")
        rows += [_row(one) for one in census.samples if one.gate == gate]
    if census.other:
        rows.append(f"NOT PERMITS:      {census.other} keys of another type than STRING")
    status = "✅ ALL THREE PERMIT SOURCES ACTIVE"
    if census.missing:
        status = f"❌ MISSING: {', '.join(TITLES[gate] for gate in census.missing)}"
    return "\n".join([*rows, "", f"STATUS: {status}", FRAME])


def as_json(census: Census) -> str:
    """One line, in ASCII; the fields are told in docs/audit-scripts.md."""
    head = json.dumps(
        {
            "exit_code": exit_code(census),
            "status": "missing" if census.missing else "complete",
            "total": sum(census.counts.values()),
            **census.counts,
            "missing": census.missing,
            "other_type": census.other,
        }
    )
    samples = [one for gate in TITLES for one in census.samples if one.gate == gate]
    return f'{head[:-1]}, "samples": [{", ".join(map(_object, samples))}]}}'


def _row(one: Sample) -> str:
    left_ms = one.seen.ttl_ms
    life = f"ttl {left_ms // 1000}.{left_ms // 100 % 10} s" if left_ms >= 0 else "never expires"
    judged = one.seen.state + (f" ({shown(one.seen.problem, LINE)})" if one.seen.problem else "")
    return f"  {shown(one.plan_id, WIDEST)}  {life}  {judged}  {shown(one.value, LINE)}"


def _object(one: Sample) -> str:
    problem = quoted(one.seen.problem, LINE) if one.seen.problem else "null"
    return (
        f'{{"gate": "{one.gate}", "plan_id": {quoted(one.plan_id, WIDEST)}, '
        f'"key": {quoted(one.key, WIDEST)}, "ttl_ms": {one.seen.ttl_ms}, '
        f'"state": "{one.seen.state}", "problem": {problem}, "bytes": {one.size}, '
        f'"value": {quoted(one.value, DEEPEST)}}}'
    )
