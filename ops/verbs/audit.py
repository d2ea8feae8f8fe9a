"""What the auditors can prove now: three verdicts, and every open violation by name."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from typing import TYPE_CHECKING, Any

from ops.terminal import safe

if TYPE_CHECKING:
    import walrus

    from quantum_ops.audit.verdict import Verdict
    from quantum_ops.audit.violations import Violation

MARKS = {"PROVEN": "✅", "VIOLATED": "❌", "UNPROVEN": "⚠️ "}
ERROR = 1


def configure(parser: argparse.ArgumentParser) -> None:
    """See ops.__main__."""
    parser.add_argument(
        "--since",
        type=moment_ms,
        default="all",
        metavar="WHEN",
        help="only violations told since then: 90m, 24h, 7d, 2026-11-24, 2026-11-24T08:00:00Z",
    )
    parser.add_argument("--json", action="store_true", help="as one JSON object")
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    settle = actions.add_parser("settle", help="close a violation; the act is kept in the history")
    settle.add_argument("id", help="the violation's id, as it is shown")
    settle.add_argument("--why", required=True, help="what was found and done")


def run(args: argparse.Namespace) -> int:
    """Exit code: 0 all is proven; 2 a violation is open; 1 an error, or something is unproven."""
    import redis

    from ops.target import open_db

    db = open_db()
    try:
        if args.action == "settle":
            return _settle(db, args.id, args.why)
        return _show(db, args)
    except redis.RedisError as error:
        print(f"audit: Redis: {safe(str(error))}", file=sys.stderr)
        return ERROR


def moment_ms(text: str, now_s: float | None = None) -> int:
    """The epoch milliseconds that ``text`` means; raises ``ArgumentTypeError`` with the cure."""
    from datetime import UTC, datetime

    from ops import moments

    if text == "all":
        return 0
    now = datetime.fromtimestamp(time.time() if now_s is None else now_s, UTC)
    try:
        return int(moments.since(text, now).timestamp() * 1000)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _settle(db: walrus.Database, finding_id: str, why: str) -> int:
    from quantum_ops.audit.violations import settle

    if not re.fullmatch(r"\d{1,20}-\d{1,20}", finding_id):
        print(f"{safe(finding_id)!r} is no id; `./run audit` shows them", file=sys.stderr)
        return ERROR
    outcome = settle(db, finding_id, why)
    print(f"{finding_id}  {'settled' if outcome == 'done' else outcome}")
    return 0 if outcome != "unknown" else ERROR


def _show(db: walrus.Database, args: argparse.Namespace) -> int:
    from ops.audit_words import words_of
    from quantum_ops.audit import verdict
    from quantum_ops.audit.violations import violations

    auditors = [auditor for auditor, _ in verdict.AUDITORS.values()]
    words = words_of(db, auditors, int(time.time() * 1000))
    made = verdict.verdicts(violations(db, args.since), words)
    code = verdict.exit_code(made)
    if args.json:
        print(json.dumps(_object(made, code, args.since)))
        return code
    for one in made:
        print(f"{one.name:<9} {MARKS[one.state]} {one.state:<9} {safe(one.detail)}")
    open_ones = sorted((v for one in made for v in one.violations), key=lambda v: v.at_ms)
    if open_ones:
        print()
    for violation in open_ones:
        finding = violation.finding
        print(
            f"{violation.finding_id}  {_when(violation)}  {safe(finding.finding)}  "
            f"{safe(finding.subject, 64)}  {safe(finding.detail)}"
        )
    if open_ones:
        print("\nsettle one with: ./run audit settle ID --why TEXT")
    return code


def _object(made: list[Verdict], code: int, since_ms: int) -> dict[str, Any]:
    return {
        "exit_code": code,
        "since_ms": since_ms,
        "verdicts": [{"name": one.name, "state": one.state, "detail": one.detail} for one in made],
        "violations": [
            {
                "id": violation.finding_id,
                "at_ms": violation.at_ms,
                "auditor": violation.finding.auditor,
                "finding": violation.finding.finding,
                "subject": violation.finding.subject,
                "detail": violation.finding.detail,
                "evidence": list(violation.finding.evidence),
            }
            for one in made
            for violation in one.violations
        ],
    }


def _when(violation: Violation) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(violation.at_ms / 1000))
