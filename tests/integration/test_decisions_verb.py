"""./run decisions: what P3.3 decided, newest or live, whatever stands in the stream."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from quantum_ops import streams
from tests.p33_rig import P33Rig, hold, publish_universe
from tests.p33_stories import opening, plan
from tests.servers import Server
from tests.waiting import wait_until

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
    # and in the style of the other verbs: a template, colour where it is wanted
    assert decisions("-F", "%p %a %{reason}").stdout.splitlines()[-1].split() == [
        "b" * 16, "false", "symbol_not_allowed",
    ]  # fmt: skip
    assert "\x1b[33m" in decisions("--color", "always").stdout
    assert decisions("-F", "%z").returncode == 2


def test_hostile_values_do_not_reach_the_terminal_as_they_are(gate):
    gate.decide(plan(plan_id="\x1b[2J", symbol="\u202eX"))
    gate.db.xadd(streams.PERMIT_DECIDED.key, {"not": "a decision"})
    done = decisions()
    assert "\x1b" not in done.stdout
    assert "\\x1b[2J" in done.stdout
    assert "no decision" in done.stderr
    assert done.returncode == 0


def test_one_plan_is_found_however_long_ago_it_was_decided(gate):
    gate.decide(plan(plan_id="a" * 16), *(plan(plan_id=f"{n:016x}") for n in range(1200)))
    [only] = decisions("--json", "--plan", "a" * 16).stdout.splitlines()
    assert json.loads(only)["plan_id"] == "a" * 16
    none = decisions("--plan", "b" * 16)
    assert (none.returncode, none.stdout) == (4, "")
    assert f"nothing was decided on a plan {'b' * 16}" in none.stderr
    assert len(decisions("--json", "--count", "1100").stdout.splitlines()) == 1100
    refused = decisions("-n", "-1")
    assert refused.returncode == 2
    assert "'-1' is no number of decisions" in refused.stderr


class Following:
    """``./run decisions -f`` as a process whose lines can be waited for."""

    def __init__(self, *argv: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", "ops", "decisions", "-f", "-n", "0", "--json", *argv],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ},
            # A suite that runs in the background hands down an ignored SIGINT.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads
        )  # fmt: skip
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._pipes = {"out": self.process.stdout, "err": self.process.stderr}
        self._heard = dict.fromkeys(self._pipes, "")
        for pipe in self._pipes.values():
            os.set_blocking(pipe.fileno(), False)

    def heard(self, name: str) -> str:
        """All that came so far on ``out`` or ``err``."""
        self._heard[name] += (self._pipes[name].read() or b"").decode()
        return self._heard[name]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in self._pipes.values():
            pipe.close()


@pytest.fixture
def following(gate):
    made = Following()
    yield made
    made.close()


def decide_until_told(gate, following, first: str) -> None:
    """It may still be starting, or be on its way back: decide until it tells of one."""
    numbers = iter(range(10_000))

    def told() -> bool:
        gate.decide(plan(plan_id=f"{first}{next(numbers):015x}"))
        return f'"plan_id": "{first}' in following.heard("out")

    wait_until(told, 20, "a decision is told")


def test_it_follows_until_it_is_interrupted(gate, following):
    decide_until_told(gate, following, "a")
    following.process.send_signal(signal.SIGINT)
    assert following.process.wait(10) == 0


def test_it_follows_a_server_that_comes_back(valkey, gate, following):
    decide_until_told(gate, following, "a")
    # When the server is killed, and comes back empty
    valkey.kill()
    wait_until(lambda: "Redis is away" in following.heard("err"), 10, "it tells of it")
    valkey.start()
    publish_universe(valkey.connect(), "BTCUSDT")
    hold(valkey.connect(), "1")
    # Then it goes on with what is decided from then on, and says once each what happened
    decide_until_told(P33Rig(valkey), following, "b")
    assert following.heard("err").splitlines() == [
        "decisions: Redis is away; waiting for it", "decisions: Redis is back",
    ]  # fmt: skip
    assert following.process.poll() is None


def test_reader_that_leaves_ends_it_without_a_word(gate, following):
    decide_until_told(gate, following, "a")
    following.process.stdout.close()

    def ended() -> bool:
        gate.decide(plan(plan_id=f"{time.monotonic_ns():016x}"))
        return following.process.poll() is not None

    wait_until(ended, 10, "it ends")
    assert (following.process.returncode, following.heard("err")) == (141, "")


def test_server_that_is_not_there(monkeypatch, gate, tmp_path):
    # Given a server that was named
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
    done = decisions()
    assert (done.returncode, done.stdout) == (69, "")
    assert "Redis is unreachable" in done.stderr
    # And nothing that runs, and none named
    monkeypatch.delenv("REDIS_URL")
    monkeypatch.setenv("REDIS_PORT", "1")
    monkeypatch.setenv("QUANTUM_HOME", str(tmp_path))
    done = decisions()
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "not running; ./run starts it\n"


def test_wrong_password_is_told_and_not_waited_for(monkeypatch):
    # A server of its own: the shared one would stay locked for every test that follows.
    server = Server("valkey")
    try:
        server.connect().config_set("requirepass", "secret")
        monkeypatch.setenv("REDIS_URL", server.url)
        done = decisions("-f")
    finally:
        server.close()
    assert done.returncode == 78
    assert "Redis refuses us" in done.stderr
