"""./run decisions: what P3.3 decided, newest or live, whatever stands in the stream."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from quantum_ops import streams
from tests.p33_rig import P33Rig, hold, publish_universe
from tests.p33_stories import opening, plan

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def gate(valkey, monkeypatch):
    monkeypatch.setenv("REDIS_URL", valkey.url)
    publish_universe(valkey.connect(), "BTCUSDT")
    hold(valkey.connect(), "1")
    return P33Rig(valkey)


def decisions(*argv: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "ops", "decisions", *argv],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_newest_decisions_with_their_reasons(gate):
    gate.decide(plan(), opening(plan_id="b" * 16, symbol="GONEUSDT"))
    lines = decisions().stdout.splitlines()
    assert lines[0].split() == ["WHEN", "PLAN", "SYMBOL", "REASON", "QTY", "EPOCH"]
    assert lines[1].split()[1:] == [
        plan().plan_id, "BTCUSDT", "ALLOW", "sanity_checks_passed", "1.000", "1",
    ]  # fmt: skip
    assert lines[2].split()[3:5] == ["deny", "symbol_not_allowed"]
    assert len(decisions("-n", "1").stdout.splitlines()) == 2
    [only] = decisions("--json", "--plan", "b" * 16).stdout.splitlines()
    assert json.loads(only)["reason"] == "symbol_not_allowed"


def test_hostile_values_do_not_reach_the_terminal_as_they_are(gate):
    gate.decide(plan(plan_id="\x1b[2J", symbol="\u202eX"))
    gate.db.xadd(streams.PERMIT_DECIDED.key, {"not": "a decision"})
    done = decisions()
    assert "\x1b" not in done.stdout
    assert "\\x1b[2J" in done.stdout
    assert "no decision" in done.stderr
    assert done.returncode == 0


def test_it_follows_until_it_is_interrupted(gate):
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "ops", "decisions", "-f", "-n", "0", "--json"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ},
        # A suite that runs in the background hands down an ignored SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads
    )  # fmt: skip
    try:
        # Given that it may still be starting: decide until it tells of one
        assert process.stdout is not None
        for number in range(200):
            gate.decide(plan(plan_id=f"{number:016x}"))
            os.set_blocking(process.stdout.fileno(), False)
            if process.stdout.readline():
                break
            gate.db.blpop("nothing", 0.05)
        else:
            raise AssertionError("it told of nothing")
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def test_server_that_is_not_there_is_an_error(monkeypatch, gate):
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
    done = decisions()
    assert (done.returncode, done.stdout) == (1, "")
    assert "decisions: Redis: " in done.stderr
