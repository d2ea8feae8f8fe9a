"""A process is stopped in order, and one whose server is not there waits for it.

Kills, sleepers and killed servers are tests/reliability's.
"""

from __future__ import annotations

import os
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
