"""Work in a second process: it gives what it made, writes only when allowed, leaves nothing behind.

Each story is a process of its own: one that has threads, as a test run may, forks nothing.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAD = """
import os, signal, sys, threading
from pathlib import Path
from quantum_ops.ledger.aside import aside
if hasattr(os, "sched_getaffinity"):
    real, os.sched_getaffinity = os.sched_getaffinity, lambda _pid: {0, 1}  # on one processor, too
note = Path(sys.argv[1])
"""


def run(tmp_path, story):
    """What the story printed, and what it wrote into ``note``."""
    note = tmp_path / "note"
    done = subprocess.run(
        [sys.executable, "-c", HEAD + story, note],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert not done.stderr, done.stderr
    return done.stdout.split("\n")[:-1], note.read_text() if note.exists() else ""


def test_it_gives_what_another_process_made_however_much_it_is(tmp_path):
    told, _ = run(tmp_path, """
with aside(lambda allowed: (os.getpid(), b"x" * 5_000_000)) as work:
    work.allow()
    pid, made = work.result()
print(pid != os.getpid(), len(made))
""")  # fmt: skip
    assert told == ["True 5000000"]


def test_what_the_work_raises_is_raised_here(tmp_path):
    told, _ = run(tmp_path, """
def work(allowed):
    allowed()
    raise OSError(28, "No space left on device", "a file")
with aside(work) as made:
    made.allow()
    try:
        made.result()
    except OSError as error:
        print(error)
""")  # fmt: skip
    assert told == ["[Errno 28] No space left on device: 'a file'"]


@pytest.mark.parametrize("reaction", ["raise SystemExit", "os.kill(os.getpid(), 9)", "pass"])
def test_what_is_never_allowed_writes_nothing(tmp_path, reaction):
    story = f"""
read, write = os.pipe()
def work(allowed):
    os.write(write, b"begun")
    allowed()
    note.write_text("written")
with aside(work):
    os.read(read, 5)
    {reaction}
"""
    _, note = run(tmp_path, story)
    assert note == ""


def test_a_process_that_was_killed_is_told(tmp_path):
    told, _ = run(tmp_path, """
with aside(lambda allowed: os.kill(os.getpid(), signal.SIGKILL)) as work:
    work.allow()
    try:
        work.result()
    except OSError as error:
        print(error)
""")  # fmt: skip
    assert told == ["the process that renders ended early (status -9); run it again"]


@pytest.mark.parametrize("why", ["a thread", "one processor"])
def test_where_a_fork_gains_nothing_or_is_not_safe_the_work_is_done_here(tmp_path, why):
    told, note = run(tmp_path, f"""
over = threading.Event()
if {why!r} == "a thread":
    threading.Thread(target=over.wait).start()
else:
    os.sched_getaffinity = lambda _pid: {{0}}
    os.cpu_count = lambda: 1
def work(allowed):
    allowed()
    note.write_text("written")
    return os.getpid()
with aside(work) as made:
    made.allow()
    print(note.exists(), made.result() == os.getpid())
over.set()
""")  # fmt: skip
    assert told == ["False True"]
    assert note == "written"
