"""Somebody removes what consumers stand on: the whole database, the stream, entries, the group.

Each must be told of in a critical Finding: by the runner that found its group gone, after XTRIM by
the archive, which counts what was added and what is left.
"""

from __future__ import annotations

import itertools
import signal
import time
from collections import Counter

import msgspec

from quantum_ops import codec
from tests.reliability.names import EFFECTS, FINDINGS, STREAM
from tests.reliability.result import Result
from tests.reliability.rig import GROUP, Rig, percentile
from tests.reliability.workers import event
from tests.waiting import wait_until

TITLE = "FLUSHALL, DEL, XTRIM past the group, XGROUP DESTROY"
GOAL = 200
NOT_TESTED = "an XDEL of single entries that nobody has read; swapping databases"
KINDS = ("FLUSHALL", "DEL", "XTRIM", "XGROUP DESTROY")
MAX_S = 5.0
ALARMS = {
    "FLUSHALL": ("group_recreated",),
    "DEL": ("group_recreated",),
    "XGROUP DESTROY": ("group_recreated",),
    # The archive is told of: it counts what was added and what is left.
    "XTRIM": ("archive_gap", "archive_stream_shrank"),
}
"""Findings of which one must come, kind -> names."""
AROUND = 20


def run(rig: Rig, result: Result, goal: int) -> None:
    """``goal`` wipes in turn, each with events before and after it and work in hand."""
    numbers = itertools.count()
    workers = [rig.worker(number) for number in range(2)]
    archive = rig.worker(
        0, "archive", ARCHIVE_DIR=str(rig.folder / "archive"), ARCHIVE_TRIM="false"
    )  # fmt: skip
    took: dict[str, list[float]] = {kind: [] for kind in KINDS}
    alarmed: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    lost = doubled = again = archived = 0
    for kind in itertools.islice(itertools.cycle(KINDS), goal):
        begin = archived
        _send(rig, numbers)
        # The archive has to have counted what stood there before it can miss it.
        wait_until(lambda: _archived(rig) >= begin + AROUND and rig.settled(), 30, "a start")
        archived = _archived(rig)
        before = set(_effects(rig))
        seen = _findings(rig)
        if kind == "XTRIM":
            for pid in workers:
                rig.farm.signal(pid, signal.SIGSTOP)
        _send(rig, numbers)
        _strike(rig, kind)
        struck = time.monotonic()
        for pid in workers:
            rig.farm.signal(pid, signal.SIGCONT)
        marks = _send(rig, numbers)
        wait_until(lambda: set(marks) <= _effects(rig).keys(), 30, f"work after {kind}")
        took[kind].append(time.monotonic() - struck)
        wait_until(lambda: _told(rig, kind, seen), 30, f"an alarm for {kind}")
        alarmed[kind] += 1
        took[kind][-1] = max(took[kind][-1], time.monotonic() - struck)
        wait_until(rig.settled, 30, "all is settled")
        counts = _effects(rig)
        lost += sum(1 for id_ in marks if id_ not in counts)
        doubled += sum(1 for id_ in marks if counts.get(id_, 0) > 1)
        again += sum(1 for id_ in before if counts.get(id_, 0) > 1)
        rig.db.delete(EFFECTS)
        faults[kind] += 1
    for pid in (*workers, archive):
        state = rig.end(pid)
        result.expect(f"a worker {state}", holds=state == "exited 0")
    every = [seconds for of_kind in took.values() for seconds in of_kind]
    result.faults = dict(faults)
    result.recovery_s, result.recovery_n = (percentile(every, 0.5), percentile(every, 0.99)), goal
    result.verdict = {"acked": goal * AROUND, "lost": lost, "doubled": doubled}
    result.figures["alarmed"] = dict(alarmed)
    result.figures["slowest recovery and alarm, s"] = {
        kind: round(max(of_kind), 2) for kind, of_kind in took.items() if of_kind
    }
    result.figures["settled events that were handled again"] = again
    for kind, of_kind in took.items():
        late = sum(1 for seconds in of_kind if seconds > MAX_S)
        result.expect(f"{late} times more than {MAX_S} s after {kind}", holds=late == 0)
    result.expect(f"{lost} lost after the fault", holds=lost == 0)
    result.expect(f"{doubled} doubled after the fault", holds=doubled == 0)


def _strike(rig: Rig, kind: str) -> None:
    match kind:
        case "FLUSHALL":
            rig.db.flushall()
        case "DEL":
            rig.db.delete(STREAM)
        case "XTRIM":
            rig.db.xtrim(STREAM, maxlen=0, approximate=False)
        case _:
            rig.db.xgroup_destroy(STREAM, GROUP)


def _send(rig: Rig, numbers: itertools.count[int]) -> list[str]:
    ids = [f"w{number}" for number in itertools.islice(numbers, AROUND)]
    with rig.db.pipeline(transaction=False) as pipe:
        for id_ in ids:
            pipe.execute_command("XADD", STREAM, "*", *codec.encode(event(id_)))
        pipe.execute()
    return ids


def _effects(rig: Rig) -> dict[str, int]:
    return {id_: int(count) for id_, count in rig.db.hgetall(EFFECTS).items()}


def _findings(rig: Rig) -> set[str]:
    return {entry_id for entry_id, _ in rig.db.xrange(FINDINGS)}


def _told(rig: Rig, kind: str, seen: set[str]) -> bool:
    return any(
        fields["finding"] in ALARMS[kind] and (STREAM in msgspec.json.encode(fields).decode())
        for entry_id, fields in rig.db.xrange(FINDINGS)
        if entry_id not in seen
    )


def _archived(rig: Rig) -> int:
    """Entries of all streams that the archive has, as of its last scan; 0 while it does not say."""
    return int(rig.db.hget("quantum:ops:heartbeat:archive:0", "archived") or 0)
