"""Consumers and servers killed at random; an outside look at Redis alone says what was lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from quantum_ops import streams
from quantum_ops.events import AuditFinding
from quantum_ops.publisher import Publisher
from tests.servers import Server
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
KEY = streams.AUDIT_FINDING.key
FULL = os.environ.get("QUANTUM_FAULTS") == "full"
KILLS = 200 if FULL else 12


class Process:
    """One counting process, number ``number`` of its program."""

    def __init__(self, url: str, number: int) -> None:
        self._environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "REDIS_URL": url,
            "QUANTUM_ENV_DIR": "/nonexistent",
            "QUANTUM_BLOCK_MS": "50",
            "QUANTUM_CLAIM_AFTER_SEC": "0.5",
            "QUANTUM_RETRY_CAP_SEC": "0.2",
            "SUPERVISOR_PROCESS_NAME": f"counting-{number:02d}",
        }
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.fault.counting_process"],
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.DEVNULL,
        )

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        return self.process.wait(10)


def publish(db, start: int, count: int) -> None:
    publisher = Publisher(db)
    for number in range(start, start + count):
        publisher.publish(
            AuditFinding(auditor="t", finding="f", severity="info", subject=str(number))
        )


def settled(db, total: int) -> bool:
    return db.hlen("count") == total and db.xpending(KEY, "counting")["pending"] == 0


def check_exactly_once(db, total: int) -> None:
    counts = db.hgetall("count")
    assert len(counts) == total
    assert set(counts.values()) == {b"1"}
    assert db.xlen(streams.DEAD_LETTER.key) == 0


@pytest.fixture
def processes():
    started: list[Process] = []
    yield started
    for process in started:
        process.end()


def test_killed_consumers_lose_nothing_and_double_nothing(server, db, processes):
    # Given two processes of one group and a stream that keeps growing
    random_ = random.Random(20261123)
    processes += [Process(server.url, number) for number in (0, 1)]
    total = 0
    for _ in range(KILLS):
        publish(db, total, 60)
        total += 60
        wait_until(lambda: db.hlen("count") > total - 60, 20, "work is going on")
        # When one of them is killed in the middle of it and started again
        victim = random_.choice(processes)
        victim.signal(signal.SIGKILL)
        victim.process.wait()
        victim.start()
    # Then every event is counted exactly once
    wait_until(lambda: settled(db, total), 30, f"{total} settled")
    check_exactly_once(db, total)


def test_stopped_consumer_that_wakes_up_changes_nothing(server, db, processes):
    processes += [Process(server.url, number) for number in (0, 1)]
    total = 0
    for round_ in range(KILLS // 3):
        publish(db, total, 60)
        total += 60
        # When one is stopped in the middle, the other does all the work, and the first wakes up
        sleeper = processes[round_ % 2]
        sleeper.signal(signal.SIGSTOP)
        wait_until(lambda: settled(db, total), 30, "the other took over")
        sleeper.signal(signal.SIGCONT)
    wait_until(lambda: settled(db, total), 30, "settled")
    check_exactly_once(db, total)


@pytest.mark.parametrize(
    "flavour", ["valkey", pytest.param("redis7", marks=pytest.mark.needs_redis7)]
)
def test_killed_server_loses_no_acknowledged_event_and_consumers_carry_on(flavour, processes):
    # Given a server that syncs each write, and one consumer process
    server = Server(flavour, "--appendonly", "yes", "--appendfsync", "always")
    try:
        process = Process(server.url, 0)
        processes.append(process)
        total = 0
        for _ in range(3):
            publish(server.connect(), total, 50)
            total += 50
            # When the server is killed and started again
            server.kill()
            server.start()
        db = server.connect()
        # Then the same process goes on, every acknowledged event is counted exactly once
        wait_until(lambda: settled(db, total), 30, "all counted")
        check_exactly_once(db, total)
        assert process.process.poll() is None
        assert process.end() == 0
    finally:
        server.close()


def test_flushed_server_is_worked_on_again_within_five_seconds_and_told(server, db, processes):
    processes.append(Process(server.url, 0))
    publish(db, 0, 10)
    wait_until(lambda: db.hlen("count") == 10, 20)
    # When everything is wiped under a reading consumer
    db.flushall()
    publish(db, 100, 5)
    # Then the new events are counted and the wipe is on record as critical
    wait_until(lambda: db.hlen("count") >= 5, 5, "recovered")
    found = wait_until(
        lambda: [f for _, f in db.xrange(KEY) if f[b"finding"] == b"group_recreated"], 5
    )
    assert found[0][b"severity"] == b"critical"
    assert found[0][b"subject"] == f"counting@{KEY}".encode()


def test_graceful_stop_finishes_the_batch_and_leaves_nothing_pending(server, db, processes):
    process = Process(server.url, 0)
    processes.append(process)
    publish(db, 0, 200)
    wait_until(lambda: db.hlen("count") > 0, 20)
    assert process.end() == 0
    counted = db.hlen("count")
    assert db.xpending(KEY, "counting")["pending"] == 0
    # And the next one goes on where it ended
    process.start()
    wait_until(lambda: settled(db, 200), 20)
    assert counted <= 200
    check_exactly_once(db, 200)


def test_missing_server_is_waited_for_inside_the_process(processes):
    # Given a process whose server is not there yet
    server = Server("valkey")
    server.kill()
    process = Process(server.url, 0)
    processes.append(process)
    try:
        # When the server comes late
        import time

        time.sleep(1.5)  # the one real wait: the story is about a process that sits one out
        assert process.process.poll() is None
        server.start()
        db = server.connect()
        publish(db, 0, 5)
        # Then the same process does the work
        wait_until(lambda: settled(db, 5), 20)
        assert process.process.poll() is None
    finally:
        process.end()
        server.close()
