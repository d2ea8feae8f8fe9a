"""./run permit: keys, what stands in Redis, and the executors' check of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from quantum_ops import streams
from tests.p33_rig import P33Rig, hold, publish_universe
from tests.p33_stories import plan

ROOT = Path(__file__).resolve().parents[2]
KEY = streams.permit("p33", plan().plan_id)


@pytest.fixture
def permit(valkey, tmp_path, monkeypatch):
    monkeypatch.setenv("REDIS_URL", valkey.url)

    def verb(*argv: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "ops", "permit", *argv],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    return verb


@pytest.fixture
def key(permit, tmp_path):
    path = tmp_path / "permit.pem"
    made = permit("key", str(path))
    assert made.returncode == 0, made.stderr
    assert "P33_SIGNING_KEY=" in made.stdout
    return path


def test_permit_of_a_running_gate_is_shown_and_verified(valkey, permit, key):
    publish_universe(valkey.connect(), "BTCUSDT")
    hold(valkey.connect(), "1")
    rig = P33Rig(valkey, signing_key=str(key))
    rig.decide(plan(), plan(plan_id="d" * 16, symbol="GONEUSDT"))
    shown = permit("show", plan().plan_id)
    assert shown.returncode == 0
    document, _, expiry = shown.stdout.rpartition("\nexpires in ")
    assert json.loads(document)["reason"] == "sanity_checks_passed"
    assert 0 < float(expiry.split()[0]) <= 60
    good = permit("verify", plan().plan_id, "--key", f"{key}.pub")
    assert (good.returncode, good.stdout.splitlines()[0]) == (
        0, "ALLOWED: ok sanity_checks_passed",
    )  # fmt: skip
    # And nothing was consumed by looking
    assert permit("verify", plan().plan_id, "--key", f"{key}.pub").returncode == 0
    denied = permit("verify", "d" * 16, "--key", f"{key}.pub")
    assert (denied.returncode, denied.stdout.splitlines()[0]) == (
        3, "NOT ALLOWED: denied symbol_not_allowed",
    )  # fmt: skip
    assert permit("verify", plan().plan_id).stdout.startswith("NOT ALLOWED: unknown_key")


def test_what_is_not_there_is_told_as_such(valkey, permit):
    assert permit("show", "nothing").returncode == 4
    missing = permit("verify", "nothing")
    assert (missing.returncode, missing.stdout) == (4, "")
    assert "no plan nothing" in missing.stderr


def test_hostile_permit_does_not_reach_the_terminal_as_it_is(valkey, permit):
    db = valkey.connect()
    db.set(KEY, b"\x1b[2Jnot json\n\xff")
    shown = permit("show", plan().plan_id)
    assert shown.returncode == 0
    assert "\x1b" not in shown.stdout
    assert "never expires" in shown.stdout
    db.delete(KEY)
    db.hset(KEY, mapping={"allow": "true"})
    forged = permit("show", plan().plan_id)
    assert (forged.returncode, "is a hash" in forged.stderr) == (3, True)


def test_key_is_never_replaced(permit, key):
    before = key.read_bytes()
    again = permit("key", str(key))
    assert (again.returncode, "is there already" in again.stderr) == (1, True)
    assert key.read_bytes() == before
    assert permit("verify", "x", "--key", "/nonexistent").returncode == 1
