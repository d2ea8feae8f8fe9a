"""The ledger under many writers, kills and full disks; what was acknowledged is there, once."""

from __future__ import annotations

import collections
import json
import os
import random
import resource
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from quantum_ops.ledger import moment, project, spool
from quantum_ops.ledger.folder import Folder
from quantum_ops.ledger.journal import Journal
from quantum_ops.ledger.verify import verify
from tests.ledger_story import Ledger

ROOT = Path(__file__).resolve().parents[2]
APPEND = ROOT / "ops" / "ops_ledger_append.py"
FULL = os.environ.get("QUANTUM_FAULTS") == "full"
KILLS = 500 if FULL else 25
CLI_KILLS = 100 if FULL else 8
APPENDS = 40 if FULL else 8
ARGUMENTS = [
    "--operation", "Fault", "--objective", "o", "--risk_class", "READ_ONLY",
    "--blast_radius", "none", "--changes_summary", "s",
]  # fmt: skip


def process(base, name, count, **more):
    return subprocess.Popen(
        [sys.executable, "-m", "tests.fault.ledger_process", str(base), str(name), str(count)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}, **more,
    )  # fmt: skip


def append(base, *arguments, **more):
    """One run of the command line tool, on the bare Python."""
    return subprocess.run(
        [sys.executable, "-I", "-S", APPEND, *ARGUMENTS, *arguments], check=False,
        capture_output=True, text=True, env={"PATH": os.environ["PATH"], "LEDGER_DIR": str(base)},
        timeout=60, **more,
    )  # fmt: skip


def recorded(base):
    """The operations in the journal: id -> (seq, stream id)."""
    records = [json.loads(line) for line in Journal(Folder.at(base)).lines()]
    found = {
        one["id"]: (one["seq"], one["source"]["stream_id"])
        for one in records
        if one["type"] == "operation.recorded"
    }
    assert [one["seq"] for one in records] == list(range(1, len(records) + 1))
    assert len(found) == len(records)
    return found


def holds(base):
    """Nothing doubled, nothing torn, the proof holds, the files are what the journal renders."""
    found = recorded(base)
    sources = collections.Counter(source for _, source in found.values())
    assert [source for source, count in sources.items() if source and count > 1] == []
    report = verify(Folder.at(base))
    assert report.ok, report.faults
    assert project.check(Folder.at(base)) == []
    return found


@pytest.mark.slow
def test_of_32_processes_that_append_at_once_all_is_kept_with_unique_gapless_ids(tmp_path):
    writers = [process(tmp_path, name, APPENDS) for name in range(32)]
    told = [
        line.split() for one in writers for line in one.communicate(timeout=110)[0].splitlines()
    ]
    assert {one.returncode for one in writers} == {0}
    found = holds(tmp_path)
    assert {name: (int(seq), source) for name, seq, source in told} == found
    assert sorted(int(name[15:]) for name in found) == list(range(1, 32 * APPENDS + 1))


@pytest.mark.slow
@pytest.mark.skipif(FULL, reason="the longer one runs")
def test_killed_writers_lose_nothing_that_was_acknowledged(tmp_path):
    kill_writers(tmp_path, KILLS)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not FULL, reason="500 kills take minutes: QUANTUM_FAULTS=full")
def test_500_killed_writers_lose_nothing_that_was_acknowledged(tmp_path):
    kill_writers(tmp_path, KILLS)


def kill_writers(base, kills):
    """Two writers at a time; one is killed after its next acknowledgement and a little more."""
    chance = random.Random(11)
    acknowledged = {}
    running = [process(base, "w0", 10_000), process(base, "w1", 10_000)]
    for number in range(kills):
        victim = running.pop(0)
        # What it says is the clock: no sleep decides where in an append the kill falls.
        acknowledged |= told(victim, lines=1 + chance.randrange(3))
        for _ in range(chance.randrange(300_000)):
            pass
        victim.send_signal(signal.SIGKILL)
        acknowledged |= told(victim)
        victim.wait(10)
        running.append(process(base, f"w{number + 2}", 10_000))
    for one in running:
        one.kill()
        acknowledged |= told(one)
        one.wait(10)
    Ledger(base).one("after")  # puts the last torn end aside and brings the files up to date
    found = holds(base)
    assert {name: one for name, one in acknowledged.items() if found.get(name) != one} == {}
    assert len(acknowledged) >= kills


def told(one, lines=None):
    """What a writer acknowledged: ``lines`` of it, or all there is once it is dead."""
    found = {}
    while lines is None or lines > 0:
        ready, _, _ = select.select([one.stdout], [], [], 30)
        assert ready, "the writer is silent"
        line = one.stdout.readline()
        if not line.endswith("\n"):
            break
        name, seq, source = line.split()
        found[name] = (int(seq), source)
        lines = None if lines is None else lines - 1
    if lines is None:
        one.stdout.close()
    return found


@pytest.mark.slow
def test_killed_command_lines_can_be_run_again(tmp_path):
    """A deploy that was killed anywhere in its ledger step is run again with its operation_id."""
    chance = random.Random(7)
    append(tmp_path)  # warms the caches of Python
    for number in range(CLI_KILLS):
        name = f"OPS-{Ledger(tmp_path).records()[0]['id'][4:14]}-{number + 500}"
        command = [sys.executable, "-I", "-S", APPEND, *ARGUMENTS, "--operation_id", name]
        environ = {"PATH": os.environ["PATH"], "LEDGER_DIR": str(tmp_path)}
        one = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE)
        select.select([one.stdout], [], [], chance.random() * 0.15)
        one.kill()
        said = one.communicate()[0]
        again = append(tmp_path, "--operation_id", name)
        assert again.returncode == 0
        assert "already recorded" in again.stdout or not said
    found = holds(tmp_path)
    assert len(found) == 1 + CLI_KILLS


def fill_up(ledger, acknowledged):
    for number in range(10_000):
        acknowledged.append(ledger.one(number, notes="x" * 3000).operation_id)


def limit(size):
    def set_it():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return set_it


def test_a_full_disk_is_an_error_and_loses_nothing(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.now = moment.now()  # so that all of it is one segment
    ledger.fill(40)
    before = ledger.segment.read_bytes()
    changelog = ledger.folder.changelog.read_bytes()
    # Files may not grow beyond half of the journal: neither it nor its renderings can be written.
    small = limit(len(before) // 2)
    strict = append(tmp_path, "--strict", preexec_fn=small)
    assert strict.returncode == 1
    assert "File too large" in strict.stderr
    kept = append(tmp_path, preexec_fn=small)
    assert kept.returncode == 0
    assert "NOT RECORDED YET: the entry waits in" in kept.stderr
    assert ledger.segment.read_bytes() == before
    assert ledger.folder.changelog.read_bytes() == changelog
    assert len(spool.waiting(ledger.folder)) == 1
    later = append(tmp_path)
    assert "taken in from the spool: OPS-" in later.stdout
    assert spool.waiting(ledger.folder) == []
    assert len(holds(tmp_path)) == 42


def test_a_disk_without_any_room_says_the_entry_itself(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.fill(2)
    before = ledger.segment.read_bytes()
    said = append(tmp_path, "--notes", "précieux", preexec_fn=limit(0))
    assert said.returncode == 0
    assert "NOT RECORDED, NOT KEPT" in said.stderr
    entry = json.loads(said.stderr.split("this is the entry: ")[1])
    assert entry["notes"] == "précieux"
    assert ledger.segment.read_bytes() == before
    assert append(tmp_path).returncode == 0
    assert len(holds(tmp_path)) == 3


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
def test_a_small_file_system_that_fills_up_loses_nothing(tmp_path):
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", tmp_path], check=False,
        capture_output=True,
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip("no right to mount here")
    try:
        base = tmp_path / "ledger"
        ledger = Ledger(base)
        acknowledged = []
        with pytest.raises(OSError, match="No space left"):
            fill_up(ledger, acknowledged)
        assert len(acknowledged) > 20
        assert ledger.ids() == acknowledged
        for line in ledger.lines():
            json.loads(line)
        for path in ledger.folder.cache.iterdir():
            path.unlink()
        ledger.folder.changelog.unlink()
        (ledger.folder.base / "2026-01.yaml").unlink()
        assert ledger.one("again").operation_id not in acknowledged
        assert ledger.ids()[:-1] == acknowledged
        assert verify(ledger.folder).ok
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


def test_a_reader_beside_writers_sees_whole_files_only(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.one("first")
    one = process(tmp_path, "w", 60)
    seen = 0
    while one.poll() is None:
        text = ledger.folder.changelog.read_text()
        assert text.startswith("# Operations Changelog")
        assert text.count("```") % 2 == 0
        assert verify(ledger.folder).ok
        seen += 1
    assert one.communicate()[0].count("\n") == 60
    assert seen > 3
    assert len(holds(tmp_path)) == 61


@pytest.mark.parametrize("who", ["child", "parent"])
def test_a_rebuild_that_is_killed_is_made_up_for_by_the_next(tmp_path, who):
    # given a ledger of some months whose rendered files are all lost
    base = tmp_path / "ledger"
    ledger = Ledger(base)
    for month in range(1, 5):
        ledger.now = ledger.now.replace(month=month)
        ledger.one(month)
    changelog = ledger.folder.changelog.read_bytes()
    for path in [*base.glob("*.yaml"), ledger.folder.changelog]:
        path.unlink()
    command = [sys.executable, "-m", "tests.fault.rebuild_process", str(base)]

    def rebuild(killed, nth):
        return subprocess.run(
            [*command, killed, str(nth)], cwd=ROOT, check=False, capture_output=True, text=True,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}, timeout=60,
        )  # fmt: skip

    # when one of its two processes is killed as the third file is written
    told = rebuild(who, 3)
    # then it is told, if anybody is left to tell, and the lock is free once the other is done, too
    if who == "child":
        assert "OSError: the process that renders ended early (status -9)" in told.stdout
    else:
        assert told.returncode == -signal.SIGKILL
    assert told.stderr == ""
    # and the next one makes everything again
    assert rebuild("nobody", 0).stdout == ""
    assert project.check(ledger.folder) == []
    assert ledger.folder.changelog.read_bytes() == changelog


def test_a_journal_that_was_cut_is_rendered_by_neither_process(tmp_path):
    # given files that a journal gave which has lost its last line since
    base = tmp_path / "ledger"
    ledger = Ledger(base)
    ledger.fill(3)
    (segment,) = ledger.folder.segments()
    segment.write_bytes(b"".join(segment.read_bytes().splitlines(keepends=True)[:-1]))
    changelog = ledger.folder.changelog.read_bytes()
    # when everything is to be made again
    told = subprocess.run(
        [sys.executable, "-m", "tests.fault.rebuild_process", str(base), "nobody", "0"],
        cwd=ROOT, check=False, capture_output=True, text=True, timeout=60,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    # then the checkpoint speaks against it, and no file forgets the third operation
    assert told.stdout.startswith("CheckpointError")
    assert ledger.folder.changelog.read_bytes() == changelog
    assert not [*base.rglob("*.tmp"), *base.rglob("*.rendered")]
