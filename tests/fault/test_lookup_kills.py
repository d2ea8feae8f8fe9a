"""Whoever makes lookup files is killed in the middle: a file is there as a whole, or not at all."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from quantum_ops.history import lookup
from quantum_ops.history.reader import Archive
from quantum_ops.history.search import Search
from quantum_ops.history.terms import PLAN, Term
from quantum_ops.history.verify import verify
from tests.archive_rig import ArchiveRig, fill
from tests.programs import FULL
from tests.waiting import wait_until

ROUNDS = 60 if FULL else 5
COUNT = 4000
WORKER = """
import sys
from pathlib import Path
from quantum_ops.history import lookup
from quantum_ops.history.folder import Folder

folder = Folder(Path(sys.argv[1]))
names = [name for name in folder.names() if not folder.raw(name).exists()]
Path(sys.argv[1], "begun").touch()
while True:
    for name in names:
        lookup.make(folder, name)
"""


@pytest.mark.timeout(300)
def test_killed_while_they_are_written_no_answer_changes(tmp_path):
    folder = fill(tmp_path, COUNT, segment_bytes=200_000)
    segments = [one for one in Archive(folder).segments if one.sealed]
    assert len(segments) > 1
    chosen = random.Random(7)
    for _ in range(ROUNDS):
        begun = tmp_path / "begun"
        begun.unlink(missing_ok=True)
        worker = subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path)])
        try:
            wait_until(begun.exists, 60, "it works")
            # Anywhere in its work: what is tried is not when, but that it does not matter when.
            time.sleep(chosen.uniform(0.0, 0.1))
        finally:
            worker.send_signal(signal.SIGKILL)
            worker.wait()
        assert not any(map(lookup.problem, segments))
        search = Search(Archive(folder))
        number = chosen.randrange(COUNT)
        assert [found.at for found in search.find(Term(PLAN, f"{number:016x}"))] == [number]
    assert verify(folder).ok


def test_what_a_kill_left_half_written_goes_when_the_archive_is_opened(valkey, tmp_path):
    # Given drafts of a process that is gone, of one that lives, and a file that only looks like one
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = tmp_path / f".00000001-2026-01-27.lookup.{gone.pid}.tmp"
    mine = tmp_path / f".state.json.{os.getppid()}.tmp"
    other = tmp_path / ".notes.tmp"
    for path in (left, mine, other):
        path.write_bytes(b"half")
    # When the archive is opened
    rig = ArchiveRig(valkey, tmp_path)
    rig.add(1)
    rig.settle()
    # Then the first is gone, and nothing else is
    assert not left.exists()
    assert mine.exists()
    assert other.exists()
    assert len(rig.archived()) == 1
