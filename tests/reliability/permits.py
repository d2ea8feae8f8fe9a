"""The outside checker of the gate: a process that reads permits and decisions, nothing of ours.

    python -m tests.reliability.permits URL EXPECTED

EXPECTED is JSON: ``decisions`` [[plan id, kind], ...], all that must stand there, once each, and
``letters``, how many plans must be buried. Without the file only permits are looked at. Prints one
JSON object.
"""

from __future__ import annotations

import collections
import json
import sys
from pathlib import Path
from typing import Any

import redis

from tests.reliability.checker import entries
from tests.reliability.names import DEAD, PERMITS, STREAM


def judge(db: Any, expected: Path) -> dict[str, Any]:
    """Permits that allow and that no decision tells of, and what was lost or doubled."""
    # Permits first: one that is decided between the two looks would seem to be told of by nobody.
    allowing = set()
    for key in db.scan_iter(PERMITS + "*", count=1000):
        held = db.get(key)
        if held is not None and json.loads(held)["allow"]:
            allowing.add(key.removeprefix(PERMITS))
    rows = [fields for _, fields in entries(db, STREAM)]
    told = {row["plan_id"] for row in rows if row["allow"] == "true"}
    verdict: dict[str, Any] = {
        "allowing": len(allowing), "decided": len(rows), "unaudited": len(allowing - told)
    }  # fmt: skip
    if expected.exists():
        wanted = json.loads(expected.read_text(encoding="ascii"))
        must = collections.Counter(tuple(pair) for pair in wanted["decisions"])
        twofold = {plan for plan, kind in must if kind == "one"}
        seen = collections.Counter((row["plan_id"], _kind(row, twofold)) for row in rows)
        verdict["lost"] = (must - seen).total()
        verdict["doubled"] = sum(count - 1 for count in seen.values() if count > 1)
        verdict["unexplained"] = len(seen.keys() - must.keys())
        letters = sum(1 for _, fields in entries(db, DEAD) if fields["group"] == "p33")
        verdict["dead_letters"] = letters
        verdict["letters_missing"] = wanted["letters"] - letters
        verdict["acked"] = must.total()
    return verdict


def _kind(row: dict[str, str], twofold: set[str]) -> str:
    # Of two different plans under one id, which comes first is open where several share the work.
    if row["plan_id"] in twofold:
        return "conflict" if row["reason"] == "plan_id_conflict" else "one"
    return row["reason"]


if __name__ == "__main__":
    there = redis.Redis.from_url(sys.argv[1], decode_responses=True, protocol=2)
    print(json.dumps(judge(there, Path(sys.argv[2]))))
