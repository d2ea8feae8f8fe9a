"""ops/test_p33_universe_integration.py: it checks, it can fail, and it leaves nothing changed."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from quantum_ops import streams
from quantum_ops.heartbeat import Heartbeat
from tests.p33_rig import publish_universe
from tests.programs import Program
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "ops" / "test_p33_universe_integration.py"


def script(*argv: str, python: str = sys.executable, **environ: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [python, SCRIPT, *argv], capture_output=True, text=True, check=False, timeout=100,
        env={**os.environ, **environ}, cwd="/",
    )  # fmt: skip


def keys(db) -> dict:
    names = (streams.UNIVERSE_ACTIVE, streams.UNIVERSE_META, streams.UNIVERSE_SYMBOLS)
    return {name: db.dump(name) for name in names}


def test_three_scenarios_hold_on_a_server_of_its_own():
    done = script()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("✅") == 4 * 5 + 1
    for scenario in ("fresh (stale=0)", "stale (stale=1)", "missing"):
        assert f"Universe {scenario}, plan for ETHUSDT" in done.stdout


def test_python_without_our_packages_goes_on_in_the_checkouts_own(tmp_path):
    bare = subprocess.run(
        [sys.executable, "-I", "-S", SCRIPT], capture_output=True, text=True, check=False,
        env={"PATH": os.environ["PATH"], "QUANTUM_HOME": str(tmp_path)}, timeout=60,
    )  # fmt: skip
    assert bare.returncode == 1
    assert "./run --help sets the checkout up" in bare.stderr
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "python").symlink_to(sys.executable)
    helped = subprocess.run(
        [sys.executable, "-S", SCRIPT, "--help"], capture_output=True, text=True, check=False,
        env={"PATH": os.environ["PATH"], "QUANTUM_HOME": str(tmp_path)}, timeout=60,
    )  # fmt: skip
    assert helped.returncode == 0


@pytest.fixture
def live(valkey, monkeypatch, tmp_path):
    """A P3.3 on a server with a universe of its own."""
    monkeypatch.setenv("REDIS_URL", valkey.url)
    monkeypatch.setenv("QUANTUM_HOME", str(tmp_path))
    db = valkey.connect()
    publish_universe(db, "AAAUSDT", "BBBUSDT", epoch=7)
    program = Program(valkey.url, "p33")
    wait_until(lambda: db.hget(streams.heartbeat("p33", 0), "allowlist_source"), 20, "P3.3 looks")
    yield db
    program.end()


def test_live_run_checks_the_running_processes_and_puts_everything_back(live, tmp_path):
    before = keys(live)
    done = script("--live")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("✅") == 5
    assert keys(live) == before
    assert live.xlen(streams.APPLY_PLAN.key) == 0
    assert not list(tmp_path.rglob("p33-integration-saved*"))


def test_gate_that_does_not_follow_is_found(live):
    # Given a heartbeat of a process that always says the same
    Heartbeat(live, "p33")._db.hset(streams.heartbeat("p33", 5), "allowlist_source", "universe")
    done = script("--live", "--wait", "1")
    assert done.returncode == 2
    assert "❌ Universe stale (stale=1), 2 P3.3" in done.stdout
    assert "STATUS: ❌ 2 checks do not hold" in done.stdout


def test_live_producer_would_fight_it(live):
    Heartbeat(live, "universe").beat("ready", force=True)
    before = keys(live)
    refused = script("--live")
    assert refused.returncode == 1
    assert "./run supervisorctl stop universe" in refused.stderr
    assert keys(live) == before
    assert script("--live", "--force").returncode == 0


def test_run_that_is_ended_puts_everything_back_and_one_that_is_killed_is_mended(live, tmp_path):
    before = keys(live)
    for number in (signal.SIGTERM, signal.SIGKILL):
        process = subprocess.Popen(
            [sys.executable, SCRIPT, "--live"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(lambda: keys(live) != before, 20, "it has begun")
        process.send_signal(number)
        process.wait(20)
        if number == signal.SIGTERM:
            assert keys(live) == before
    # Given the one that was killed: its copy is put back by the next run
    assert keys(live) != before
    done = script("--live")
    assert done.returncode == 0
    assert "putting" in done.stdout
    assert keys(live) == before


def test_without_a_gate_nothing_is_touched(valkey, monkeypatch):
    monkeypatch.setenv("REDIS_URL", valkey.url)
    assert script("--live").returncode == 1
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
    down = script("--live")
    assert (down.returncode, "could not be checked" in down.stderr) == (1, True)


def test_pytest_does_not_take_it_for_one_of_its_own():
    spec = importlib.util.spec_from_file_location("script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert not [name for name in vars(module) if name.startswith(("test_", "Test"))]
