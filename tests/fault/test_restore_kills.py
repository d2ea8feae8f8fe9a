"""A restore under kill -9, of itself and of the server: readers see all of it or none of it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from quantum_ops import streams
from tests.archive_rig import flat, writing
from tests.recovery_rig import contents
from tests.servers import Server
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
FULL = os.environ.get("QUANTUM_FAULTS") == "full"
KILLS = 60 if FULL else 3
COUNT = 30_000 if FULL else 6_000
PATIENCE_S = 300 if FULL else 100
"""A machine that runs full rounds is often busy with others, too."""
TWO = [streams.APPLY_PLAN.key, streams.PERMIT_DECIDED.key]
FILLED = [streams.refilled(key) for key in TWO]


@pytest.fixture(scope="module")
def archived(tmp_path_factory):
    """An archive of two streams, large enough to be killed in the middle of."""
    base = tmp_path_factory.mktemp("archive")
    start = int(time.time() * 1000) - COUNT
    with writing(base) as made:
        for number in range(COUNT):
            made.add(TWO[number % 2], b"%d-0" % (start + number), flat(number))
            if number % 1000 == 0:
                made.commit()
        made.commit()
    return base, start


def process(server: Server, base: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.fault.restore_process", server.url, str(base)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={"PATH": os.environ["PATH"], "QUANTUM_ENV_DIR": "/nonexistent"},
    )  # fmt: skip


def filled(db) -> int:
    return sum(db.xlen(key) for key in FILLED)


def end_well(server: Server, base: Path) -> str:
    last = process(server, base)
    said, wrong = last.communicate(timeout=PATIENCE_S)
    assert last.returncode == 0, wrong
    return said.strip()


def assert_whole(db, start: int) -> None:
    found = contents(db)
    for which, key in enumerate(TWO):
        expected = [[b"%d-0" % (start + n), flat(n)] for n in range(COUNT) if n % 2 == which]
        assert found[key] == expected
        assert db.xinfo_stream(key)["entries-added"] == COUNT // 2
    assert not db.exists(streams.RESTORE, *FILLED)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_anywhere_it_goes_on_and_nobody_sees_half_of_it(server, archived):
    # Given an empty server
    base, start = archived
    db = server.connect()
    points = sorted(random.Random(6).sample(range(1, COUNT), KILLS))
    resumed = 0
    for point in points:
        # When a restore is killed once so many entries are filled in
        running = process(server, base)
        wait_until(
            lambda p=point, r=running: filled(db) >= p or r.poll() is not None,
            PATIENCE_S, f"{point} entries",
        )  # fmt: skip
        running.kill()
        running.communicate()
        if db.exists(*TWO) == len(TWO):
            break  # it had come to its end: the machine was quicker than the signal
        # Then no reader sees anything of it
        assert db.exists(*TWO) == 0
        resumed += 1
    # And the next one goes on where it was, to the byte
    if db.exists(*TWO) == 0:
        assert end_well(server, base) == "resumed"
    assert resumed
    assert_whole(db, start)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_server_that_dies_under_it_has_all_of_it_in_the_end(archived):
    base, start = archived
    server = Server("valkey", "--appendonly", "yes", "--appendfsync", "always")
    try:
        for point in (COUNT // 5, COUNT // 2):
            running = process(server, base)
            db = server.connect()
            wait_until(
                lambda d=db, p=point, r=running: filled(d) >= p or r.poll() is not None,
                PATIENCE_S, f"{point} entries",
            )  # fmt: skip
            server.kill()
            running.communicate(timeout=PATIENCE_S)
            server.start()
        end_well(server, base)
        assert_whole(server.connect(), start)
    finally:
        server.close()
