"""The ledger's notes on real servers: order against races, and the process itself."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumers.position_ledger import NOTE
from quantum_ops import entry_id, streams
from quantum_ops.publisher import run_script
from tests.contract.reference import ROOT
from tests.waiting import wait_until

KEY = streams.position_ledger("BTCUSDT")


def note(db, id_: str, order: str) -> int:
    return int(run_script(db, NOTE, [KEY], [id_, "last_order_id", order]))


def noted(db) -> bytes | None:
    return db.hget(KEY, "last_order_id")


IDS = st.tuples(
    st.integers(0, 2**53), st.integers(0, 5) | st.integers(2**64 - 3, 2**64 - 1)
).map(lambda pair: f"{pair[0]}-{pair[1]}")  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(IDS, min_size=1, max_size=6))
def test_the_newest_stands_in_whatever_order_they_come(valkey, ids):
    db = valkey.connect()
    db.delete(KEY)
    for id_ in ids:
        note(db, id_, id_)
    assert noted(db).decode() == max(ids, key=entry_id.parse)
    assert note(db, max(ids, key=entry_id.parse), "again") == 1  # a repeat is no harm


def test_ids_are_compared_as_numbers(db):
    for smaller, greater in itertools.pairwise(["9-0", "10-0", "10-9", "10-10",
                                                "10-18446744073709551614",
                                                "10-18446744073709551615"]):  # fmt: skip
        db.delete(KEY)
        assert note(db, greater, "new") == 1
        assert note(db, smaller, "old") == 0
        assert noted(db) == b"new"


def test_racing_processes_leave_the_newest(server):
    db = server.connect()

    def run(numbers) -> None:
        own = server.connect()
        for number in numbers:
            note(own, f"{number}-0", str(number))

    parts = [range(start, 400, 4) for start in range(1, 5)]
    threads = [threading.Thread(target=run, args=(part,)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert noted(db) == str(max(map(max, parts))).encode()


@pytest.fixture
def process(valkey):
    started: list[subprocess.Popen] = []

    def start() -> subprocess.Popen:
        started.append(
            subprocess.Popen(
                [sys.executable, "-u", "-m", "consumers", "position_ledger"],
                cwd=ROOT, stdout=subprocess.DEVNULL,
                env={
                    "PATH": os.environ["PATH"], "REDIS_URL": valkey.url,
                    "QUANTUM_ENV_DIR": "/nonexistent", "QUANTUM_BLOCK_MS": "50",
                },
            )
        )  # fmt: skip
        return started[-1]

    yield start
    for one in started:
        one.terminate()
        assert one.wait(10) in (0, -9)


def test_killed_process_loses_no_result(valkey, process):
    # Given amounts of the executor's and results that flow
    db = valkey.connect()
    db.hset(KEY, mapping={"ledger_amt": "1.5", "updated_at": "7"})
    first = process()
    for number in range(1, 200):
        result = {"plan_id": f"p{number}", "executed": "True", "symbol": "BTCUSDT",
                  "details": f'{{"order_id": {number}}}', "timestamp": str(number)}  # fmt: skip
        db.xadd(streams.APPLY_RESULT.key, result)
        if number == 100:
            wait_until(lambda: noted(db), 15)
            # When it is killed in the middle of them
            first.kill()
            process()
    # Then the last one stands there, with its own plan and time, beside the same amounts
    wait_until(lambda: noted(db) == b"199", 15)
    found = {k.decode(): v.decode() for k, v in db.hgetall(KEY).items()}
    assert (found["last_plan_id"], found["last_result_at"]) == ("p199", "199")
    assert (found["ledger_amt"], found["updated_at"]) == ("1.5", "7")
    assert db.ttl(KEY) == -1
    wait_until(lambda: db.xpending(streams.APPLY_RESULT.key, "position_ledger")["pending"] == 0, 15)
