"""The only place that weighs the script that settles: ``python -m tests.bench.settling``.

Each row is one form of settling an entry with one HSET, 500 in a call, on each server, without a
disk and with ``appendfsync always``: processor time of the server and bytes in its file for each
entry. ``each`` is what FINISH does; ``all`` is the least there could be, and is not fenced.
"""

from __future__ import annotations

import shutil
import statistics
from pathlib import Path
from typing import Any

from ops import server_binary
from tests.bench import place, workload

BATCH, BATCHES, ROUNDS = 500, 40, 3
KEY, GROUP, ME = "quantum:bench:settling", "g", "bench-1"

_EFFECTS = """
local row = {'', 'event_id', ''}
for j = 1, #ARGV, 2 do
  row[1], row[3] = KEYS[(j + 1) / 2 + 1], ARGV[j + 1]
  redis.pcall('HSET', unpack(row, 1, 3))
end
return #ARGV / 2
"""
_IDS = "local ids = {} for j = 1, #ARGV, 2 do ids[#ids + 1] = ARGV[j] end\n"
_ACK_ALL = f"redis.call('XACK', KEYS[1], '{GROUP}', unpack(ids))\n"
FORMS = {
    "only sent and parsed": "return #ARGV / 2",
    "only effects": _EFFECTS,
    "each: one XACK for each entry, then its effect": f"""
local row = {{'', 'event_id', ''}}
for j = 1, #ARGV, 2 do
  if redis.call('XACK', KEYS[1], '{GROUP}', ARGV[j]) == 1 then
    row[1], row[3] = KEYS[(j + 1) / 2 + 1], ARGV[j + 1]
    redis.pcall('HSET', unpack(row, 1, 3))
  end
end
return #ARGV / 2
""",
    "asked: XPENDING of all, if all are pending one XACK": f"""{_IDS}
local rows = redis.call('XPENDING', KEYS[1], '{GROUP}', ids[1], ids[#ids], #ids)
for j = 1, #ids do if not rows[j] or rows[j][1] ~= ids[j] then return 0 end end
{_ACK_ALL}{_EFFECTS}""",
    "all: one XACK, nobody asks who was fenced": _IDS + _ACK_ALL + _EFFECTS,
}


def _weigh(server: place.Server, source: str) -> tuple[float, float]:
    """Microseconds of the server, and bytes in its file, for each entry."""
    db: Any = server.db
    db.flushall()
    total = BATCH * BATCHES
    pipe = db.pipeline(transaction=False)
    for number in range(total):
        pipe.execute_command("XADD", KEY, "*", "event_id", f"{number:032x}")
    pipe.execute()
    db.xgroup_create(KEY, GROUP, id="0")
    sha = db.script_load(source)
    calls = []
    for _ in range(BATCHES):
        [[_, entries]] = db.xreadgroup(GROUP, ME, {KEY: ">"}, count=BATCH)
        symbols = [workload.SYMBOLS[n % len(workload.SYMBOLS)] for n in range(BATCH)]
        keys = [KEY, *map(workload.state_key, symbols)]
        args = [part for id_, fields in entries for part in (id_, fields[b"event_id"])]
        calls.append((sha, len(keys), *keys, *args))
    written = db.info("persistence").get("aof_current_size", 0)
    spent_s = server.cpu_s()
    for one in calls:
        if db.evalsha(*one) != BATCH:
            raise RuntimeError("an entry was not settled: the numbers mean nothing")
    spent_s = server.cpu_s() - spent_s
    written = db.info("persistence").get("aof_current_size", 0) - written
    return spent_s / total * 1e6, written / total


def main() -> None:
    """Print the table."""
    programs = [server_binary.find().path]
    second = shutil.which("redis-server")
    programs += [Path(second)] if second else []
    print("| server | form | us an entry | range | bytes |\n| --- | --- | ---: | ---: | ---: |")
    for program in programs:
        for disk, options in (("no disk", place.NOT_DURABLE), ("fsync always", place.DURABLE)):
            server = place.Server(program, options)
            try:
                # Round by round, so that a busy minute meets all forms alike.
                found = [{name: _weigh(server, one) for name, one in FORMS.items()}
                         for _ in range(ROUNDS)]  # fmt: skip
            finally:
                server.close()
            for name in FORMS:
                times = [one[name][0] for one in found]
                print(f"| {server.flavour}, {disk} | {name} | {statistics.median(times):.2f} "
                      f"| {min(times):.2f}..{max(times):.2f} "
                      f"| {found[0][name][1]:.0f} |")  # fmt: skip


if __name__ == "__main__":
    main()
