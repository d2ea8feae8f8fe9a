"""The outside checker: a process that reads Redis and files, and nothing of the product.

    python -m tests.reliability.checker URL GROUP SLEEPERS JOURNAL...

Each JOURNAL was written by a producer: ``sent ID`` before the event was sent, then ``acked ID``,
``failed ID`` or ``unknown ID``. What was sent and never classified (the producer died) is unknown:
it may stand there once or not at all, never twice. SLEEPERS lists what a stopped process held and
who had done it by the time that it was woken up. Prints one JSON object, the verdict.
"""

from __future__ import annotations

import collections
import json
import sys
from pathlib import Path
from typing import Any

import redis

from tests.reliability.names import BY, DEAD, EFFECTS, STREAM

PAGE = 5000
SHOWN = 5


def classified(paths: list[Path]) -> dict[str, str]:
    """Id -> ``acked``, ``failed`` or ``unknown``."""
    found: dict[str, str] = {}
    for path in paths:
        # A kill may have torn the last line.
        for line in path.read_text(encoding="ascii").splitlines(keepends=True):
            if line.endswith("\n"):
                word, id_ = line.split()
                found[id_] = "unknown" if word == "sent" else word
    return found


def entries(db: Any, key: str) -> Any:
    """All entries of a stream, as (id, fields)."""
    after = "-"
    while page := db.xrange(key, after, "+", count=PAGE):
        yield from page
        after = f"({page[-1][0]}"


def judge(db: Any, group: str, sleepers: Path, journals: list[Path]) -> dict[str, Any]:
    """The verdict, from what stands in Redis and in the files."""
    sends = classified(journals)
    effects = {id_: int(count) for id_, count in db.hgetall(EFFECTS).items()}
    who = db.hgetall(BY)
    plan_of, stands = {}, collections.Counter()
    for entry_id, fields in entries(db, STREAM):
        plan_of[entry_id] = fields["plan_id"]
        stands[fields["plan_id"]] += 1
    letters: collections.Counter[str] = collections.Counter()
    spoilt = []
    for _, fields in entries(db, DEAD):
        if fields["group"] == group:
            id_ = plan_of.get(fields["entry_id"], fields["entry_id"])
            letters[id_] += 1
            # Of what still stands in the stream, a letter without its content is as good as none.
            if id_ in stands and fields.get("original.plan_id") != id_:
                spoilt.append(id_)
    ended = collections.Counter(effects) + letters
    lost = [id_ for id_, word in sends.items() if word == "acked" and not ended[id_]]
    # In the stream and not worked on is as lost as never written.
    lost += [id_ for id_ in stands if not ended[id_] and sends.get(id_) != "acked"]
    lost += spoilt
    doubled = {id_ for id_, count in (*ended.items(), *stands.items()) if count > 1}
    # What was refused must not stand there, and what was never sent even less.
    unexplained = [id_ for id_ in {*ended, *stands} if sends.get(id_, "failed") == "failed"]
    # Both effects of an entry or neither: an effect that is half there belongs to nobody.
    unexplained += effects.keys() ^ who.keys()
    late = []
    if sleepers.exists():
        for line in sleepers.read_text(encoding="ascii").splitlines():
            sleeper, id_, doer = line.split()
            if who.get(id_) != doer or sleeper == who.get(id_) or effects.get(id_) != 1:
                late.append(id_)
    words = collections.Counter(sends.values())
    return {
        "acked": words["acked"],
        "failed": words["failed"],
        "unknown": words["unknown"],
        "unknown_there": sum(1 for id_, word in sends.items() if word == "unknown" and ended[id_]),
        "effects": sum(effects.values()),
        "lost": len(lost),
        "doubled": len(doubled),
        "late": len(late),
        "unexplained": len(unexplained),
        "dead_letters": sum(letters.values()),
        "pending": pending(db, group),
        "examples": {
            "lost": lost[:SHOWN],
            "doubled": sorted(doubled)[:SHOWN],
            "late": late[:SHOWN],
            "unexplained": unexplained[:SHOWN],
        },
    }


def pending(db: Any, group: str) -> int:
    """Entries that are with a consumer, all that stand there if there is no group."""
    try:
        return int(db.xpending(STREAM, group)["pending"])
    except redis.ResponseError:
        return int(db.xlen(STREAM))


def main(url: str, group: str, sleepers: str, *journals: str) -> None:
    """Print the verdict."""
    db = redis.Redis.from_url(url, decode_responses=True, protocol=2)
    print(json.dumps(judge(db, group, Path(sleepers), [Path(one) for one in journals])))


if __name__ == "__main__":
    main(*sys.argv[1:])
