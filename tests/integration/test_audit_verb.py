"""./run audit: three verdicts, the open violations by name, and how one is settled."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ops.verbs.audit import moment_ms
from quantum_ops import streams
from quantum_ops.audit import verdict
from quantum_ops.events import AuditFinding
from quantum_ops.heartbeat import Heartbeat
from quantum_ops.publisher import Publisher

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def audit(valkey, monkeypatch):
    """The verb, and auditors that are at work."""
    monkeypatch.setenv("REDIS_URL", valkey.url)
    for auditor, _ in verdict.AUDITORS.values():
        Heartbeat(valkey.connect(), auditor).beat("ready", force=True)

    def verb(*argv: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "ops", "audit", *argv],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    return verb


def tell(valkey, finding: str, auditor: str, severity: str = "critical", **fields) -> str:
    told = AuditFinding(auditor=auditor, finding=finding, severity=severity, **fields)
    return Publisher(valkey.connect()).publish(told)


def test_nothing_found_by_auditors_at_work_is_proven(valkey, audit):
    tell(valkey, "permits_complete", "permit_audit", "info")
    tell(valkey, "permit_missing", "permit_audit", "warning")
    done = audit()
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        "permits", "orders", "universe",
    ]  # fmt: skip
    assert done.stdout.count("PROVEN") == 3


def test_open_violations_are_named_and_can_be_settled(valkey, audit):
    one = tell(valkey, "executed_without_permits", "permit_audit", subject="a" * 16, detail="why")
    two = tell(valkey, "executed_without_order_id", "order_proof", subject="\x1b[2Jb")
    done = audit()
    assert done.returncode == 2
    lines = done.stdout.splitlines()
    assert "permits   ❌ VIOLATED  1 open" in lines[0]
    assert "orders    ❌ VIOLATED  1 open" in lines[1]
    assert "PROVEN" in lines[2]
    assert lines[4].startswith(one)
    assert lines[4].endswith(f"executed_without_permits  {'a' * 16}  why")
    assert "\x1b" not in done.stdout
    assert audit("settle", one, "--why", "").stdout == f"{one}  settled\n"
    assert audit("settle", one, "--why", "again").stdout == f"{one}  already\n"
    assert audit("settle", "1-1", "--why", "x").returncode == 1
    assert audit("settle", "x", "--why", "x").returncode == 1
    told = json.loads(audit("--json").stdout)
    assert [v["id"] for v in told["violations"]] == [two]
    assert [v["state"] for v in told["verdicts"]] == ["PROVEN", "VIOLATED", "PROVEN"]
    assert told["exit_code"] == 2
    # And the act stands in the history
    acts = [fields[b"finding"] for _, fields in valkey.connect().xrange(streams.AUDIT_FINDING.key)]
    assert acts.count(b"violation_settled") == 1


def test_auditor_that_is_not_at_work_proves_nothing(valkey, audit):
    db = valkey.connect()
    db.delete(streams.heartbeat("order_proof", 0))
    Heartbeat(db, "permit_audit").beat("waiting", force=True)
    db.hset(streams.heartbeat("universe_audit", 0), "updated_ms", int(time.time() * 1000) - 60_000)
    done = audit()
    assert done.returncode == 1
    assert "permit_audit is waiting" in done.stdout
    assert "order_proof is not running" in done.stdout
    assert "universe_audit was heard of last 6" in done.stdout


def test_auditor_that_sees_a_hindrance_proves_nothing_whatever_is_settled(valkey, audit):
    # Given a difference that was told and settled, and is still there
    id_ = tell(valkey, "universe_differs_from_exchange", "universe_audit", subject="epoch 1")
    beat = Heartbeat(valkey.connect(), "universe_audit")
    beat.beat("ready", force=True, hindrance="still sees a difference to the exchange: \x1bXUSDT")
    assert audit().returncode == 2
    audit("settle", id_, "--why", "seen")
    done = audit()
    assert done.returncode == 1
    assert "UNPROVEN  universe_audit still sees a difference to the exchange: " in done.stdout
    assert "\x1b" not in done.stdout
    # When it is gone
    beat.beat("ready", force=True, hindrance="")
    assert audit().returncode == 0


def test_violations_of_others_are_told_too(valkey, audit):
    tell(valkey, "group_recreated", "runner", subject="p33@quantum:stream:apply.plan")
    done = audit()
    assert done.returncode == 2
    assert "other     ❌ VIOLATED  1 open" in done.stdout


def test_since_leaves_older_ones_out(valkey, audit):
    db = valkey.connect()
    old = ["auditor", "permit_audit", "finding", "x", "severity", "critical", "event_id", "e",
           "occurred_at", "2026-01-01T00:00:00.000Z", "schema", "audit.finding/1"]  # fmt: skip
    db.execute_command("XADD", streams.AUDIT_FINDING.key, "1767225600000-0", *old)
    assert audit().returncode == 2
    assert audit("--since", "24h").returncode == 0
    assert audit("--since", "2025-12-31").returncode == 2
    assert audit("--since", "soon").returncode == 2
    assert "write 90m, 24h" in audit("--since", "soon").stderr


def test_many_violations_are_read_by_the_page(valkey, audit):
    pipe = valkey.connect().pipeline(transaction=False)
    for number in range(2500):
        pipe.xadd(
            streams.AUDIT_FINDING.key,
            {"schema": "audit.finding/1", "event_id": str(number), "auditor": "order_proof",
             "occurred_at": "2026-01-01T00:00:00.000Z", "finding": "x", "severity": "critical"},
        )  # fmt: skip
    pipe.xadd(streams.AUDIT_FINDING.key, {"not": "a finding"})
    pipe.execute()
    assert "2500 open" in audit().stdout


def test_server_that_is_not_there_is_an_error(monkeypatch, audit):
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
    done = audit()
    assert (done.returncode, done.stdout) == (1, "")
    assert "audit: Redis: " in done.stderr


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("all", 0), ("90m", 1_000_000_000_000 - 5_400_000), ("2d", 1_000_000_000_000 - 172_800_000),
        ("2001-09-09", 999_993_600_000), ("2001-09-09T01:46:40Z", 1_000_000_000_000),
        ("2001-09-09T03:46:40+02:00", 1_000_000_000_000),
    ],
)  # fmt: skip
def test_moments_that_are_understood(text, ms):
    assert moment_ms(text, 1_000_000_000.0) == ms


@pytest.mark.parametrize("text", ["", "soon", "1y", "2026-13-01", "\u0661h", "1e3s"])
def test_moments_that_are_not(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is no time; write"):
        moment_ms(text)
