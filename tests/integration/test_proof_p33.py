"""ops/proof_p33_universe_source.sh: which source each P3.3 uses, from Redis and its log."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from quantum_ops import streams
from tests.p33_rig import P33Rig, publish_universe

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=["redis-cli", "builtin"])
def proof(request, valkey, tmp_path, monkeypatch):
    """The script with each of its two clients."""
    home = tmp_path / "home"
    (home / "log").mkdir(parents=True)
    environ = {"PATH": os.environ["PATH"], "REDIS_URL": valkey.url, "QUANTUM_HOME": str(home)}
    if request.param == "builtin":
        # A PATH with a shell's own tools, but without any redis-cli.
        tools = tmp_path / "bin"
        tools.mkdir()
        for name in ("bash", "sh", "sed", "awk", "tr", "cut", "head", "tail", "date", "dirname",
                     "grep", "timeout", "cat"):  # fmt: skip
            (tools / name).symlink_to(shutil.which(name))
        (home / "venv" / "bin").mkdir(parents=True)
        ours = home / "venv" / "bin" / "python"
        ours.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        ours.chmod(0o755)
        environ["PATH"] = str(tools)
    elif shutil.which("redis-cli") is None:
        pytest.skip("no redis-cli here (apt-get install redis-tools)")

    def run(*argv: str, **more: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["bash", ROOT / "ops" / "proof_p33_universe_source.sh", *argv],
            capture_output=True, text=True, check=False, timeout=60, env={**environ, **more},
            cwd="/",
        )  # fmt: skip

    run.home = home
    return run


def beat(db, number: int, **fields) -> None:
    told = {
        "allowlist_source": "universe", "allowlist_reason": "fresh", "allowlist_count": 2,
        "universe_epoch": 7, "updated_ms": int(time.time() * 1000), **fields,
    }  # fmt: skip
    db.hset(streams.heartbeat("p33", number), mapping=told)


def test_all_processes_on_the_universe(valkey, proof):
    db = valkey.connect()
    publish_universe(db, "AAAUSDT", "BBBUSDT", epoch=7)
    beat(db, 0)
    beat(db, 1)
    (proof.home / "log" / "p33-00.log").write_text(
        'noise\n{"event": "Allowlist source=universe", "at": "2026-11-24T08:00:00Z"}\n'
    )
    done = proof()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Universe: epoch 7, 2 symbols, stale=0, checked " in done.stdout
    assert "p33-00    universe  fresh             2 symbols  epoch 7" in done.stdout
    assert "p33-01" in done.stdout
    assert "STATUS: ✅ ALL ON THE UNIVERSE" in done.stdout
    told = json.loads(proof("--json").stdout)
    assert told["exit_code"] == 0
    assert told["universe"]["epoch"] == 7
    first = told["processes"][0]
    assert (first["process"], first["source"], first["count"]) == ("p33-00", "universe", 2)
    assert (first["log_source"], first["log_at"]) == ("universe", "2026-11-24T08:00:00Z")


def test_a_live_gate_is_read_as_it_tells(valkey, proof):
    db = valkey.connect()
    publish_universe(db, "AAAUSDT", epoch=3)
    rig = P33Rig(valkey).settle()
    beat(db, 0, **rig.runner._context.vitals)
    assert proof().returncode == 0


def test_fallback_of_one_is_told_with_its_reason(valkey, proof):
    db = valkey.connect()
    publish_universe(db, "AAAUSDT", epoch=7)
    beat(db, 0)
    beat(db, 1, allowlist_source="fallback", allowlist_reason="too_old", allowlist_count=1)
    (proof.home / "log" / "p33-01.log").write_text("Allowlist source=universe\n")
    done = proof()
    assert done.returncode == 2
    assert "STATUS: ⚠️  p33-01 is on its fallback: too_old" in done.stdout
    assert "its log says universe" in done.stdout
    assert json.loads(proof("--json").stdout)["reason"] == "p33-01 is on its fallback: too_old"


def test_process_that_stays_behind_is_told_after_a_grace(valkey, proof):
    db = valkey.connect()
    publish_universe(db, "AAAUSDT", epoch=8)
    beat(db, 0, universe_epoch=7)
    db.hset(streams.UNIVERSE_META, "changed_epoch", int(time.time()))
    assert proof().returncode == 0
    db.hset(streams.UNIVERSE_META, "changed_epoch", int(time.time()) - 60)
    done = proof()
    assert done.returncode == 2
    assert "p33-00 is at epoch 7, the universe at 8" in done.stdout


def test_no_gate_is_an_error_that_tells_what_its_log_said_last(valkey, proof):
    (proof.home / "log" / "p33-00.log").write_text("x\nAllowlist source=fallback\n")
    done = proof()
    assert done.returncode == 1
    assert "no P3.3 process is alive; its log said last: Allowlist source=fallback" in done.stdout


def test_hostile_values_stay_text_and_json_stays_valid(valkey, proof):
    db = valkey.connect()
    beat(db, 0, allowlist_source='"\x1b[2J\n$(id)', allowlist_reason="\\", allowlist_count="x")
    db.set(streams.heartbeat("p33", "evil; rm"), "1")
    done = proof()
    assert done.returncode == 2
    assert "\x1b" not in done.stdout
    told = json.loads(proof("--json").stdout)
    assert told["processes"][0]["source"] == "unreadable"


def test_server_that_is_down_or_refuses_is_an_error(proof):
    for url in ("redis://127.0.0.1:1", "unix:///nonexistent"):
        down = proof(REDIS_URL=url)
        assert down.returncode == 1
        assert "proof_p33_universe_source: Redis:" in down.stderr


def test_unknown_option_is_wrong_usage(proof):
    wrong = proof("--yes")
    assert wrong.returncode == 1
    assert "Usage: bash ops/proof_p33_universe_source.sh" in wrong.stderr
    assert proof("--help").returncode == 0
