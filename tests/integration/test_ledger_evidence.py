"""Evidence through ops/ops_ledger_append.py: the specification's entries, canaries, strict mode."""

from __future__ import annotations

import hashlib
import json
import os
import re

import pytest

from quantum_ops.ledger import book, entry, reader, spool
from quantum_ops.ledger.evidence import collector, jobs
from quantum_ops.ledger.verify import verify
from tests import servers
from tests.evidence_rig import NOW, Exporter, Host, page
from tests.integration.test_ledger_cli import Tool
from tests.ledger_story import Ledger, request
from tests.yaml_readers import READERS

CLUSTERS, GATE = "quantum-portfolio-clusters", "quantum-portfolio-gate"
# As the specification's example output has them.
DEPLOYED = """\
services_status:
  quantum-portfolio-clusters: active
  quantum-portfolio-gate: active
"""
SNAPSHOTS = """\
metrics_snapshot: |
  # {url} | grep 'p27_corr_ready'
  p27_corr_ready 1.0
redis_snapshot: |
  # redis-cli HGETALL quantum:portfolio:cluster_state
  cluster_stress
  0.788493010732072
  updated_ts
  1769492127
"""
ROLLED_BACK = """\
services_status:
  quantum-portfolio-clusters: inactive
  quantum-portfolio-gate: active
"""


@pytest.fixture(scope="module")
def server():
    made = servers.Server("redis7")
    yield made
    made.close()


@pytest.fixture
def exporter():
    made = Exporter(page(b"# HELP p27_corr_ready x\np27_corr_ready 1.0\nother 2\n"))
    yield made
    made.close()


@pytest.fixture
def tool(tmp_path, server):
    host = Host(tmp_path / "host")
    tool = Tool(tmp_path / "ledger")
    tool.host = host
    tool.environ |= {**host.environ, "REDIS_URL": server.url}
    for name in ("supervisorctl", "journalctl"):
        host.program(name, "exit 1" if name == "supervisorctl" else "echo started")
    host.program("systemctl", "echo active")
    db = server.connect()
    db.flushall()
    db.hset("quantum:portfolio:cluster_state", mapping={
        "cluster_stress": "0.788493010732072", "updated_ts": "1769492127",
    })  # fmt: skip
    return tool


def evidence_of(tool):
    data = tool.data()
    return {name: data[name] for name in data if name in entry.EVIDENCE}


def block(tool):
    """The newest entry as it is shown."""
    return reader.fenced(tool.folder.changelog.read_text())[0]


def test_the_specification_s_deploy_has_its_evidence_letter_by_letter(tool, exporter, tmp_path):
    # given services, a proof, an exporter and a server as in the example
    proof = tmp_path / "P2_7_PROOF.txt"
    proof.write_bytes(b"proof\n" * 2539)
    os.utime(proof, (1_769_494_528, 1_769_494_528))
    # when it is recorded
    code = tool(
        "--allowed_services", CLUSTERS, GATE, "--proof_path", proof.name,
        "--metrics_urls", exporter.url, "--metrics_grep", "p27_corr_ready",
        "--redis_cmds", "HGETALL quantum:portfolio:cluster_state", cwd=tmp_path,
    )  # fmt: skip
    # then all of it stands there in the specification's form, and nothing is amiss
    assert (code, tool.err) == (0, "")
    shown = block(tool)
    assert DEPLOYED in shown
    assert SNAPSHOTS.format(url=exporter.url) in shown
    digest = hashlib.sha256(proof.read_bytes()).hexdigest()
    assert tool.data()["proof_file"]["sha256_full"] == digest
    assert f"proof_file:\n  sha256: {digest[:16]}\n" in shown.replace('"', "")
    assert "  size_bytes: 15234\n  mtime_utc: 2026-01-27T06:15:28Z\n" in shown
    assert re.search(r"^git_commit: \"?[0-9a-f]{40}\"?$", shown, re.MULTILINE)
    assert "evidence: incomplete" not in shown
    for read in READERS.values():
        assert read(shown)["services_status"] == {CLUSTERS: "active", GATE: "active"}


def test_the_specification_s_rollback_has_inactive_services_and_no_problem(tool):
    tool()
    undone = tool.records()[-1]["id"]
    tool.host.program("systemctl", f'[ "$3" = {CLUSTERS} ] && echo inactive || echo active')
    code = tool(
        "--outcome", "ROLLBACK", "--rollback_of", undone, "--allowed_services", CLUSTERS, GATE
    )
    assert (code, tool.err) == (0, "")
    assert ROLLED_BACK in block(tool)


@pytest.mark.parametrize("strict", [False, True])
def test_a_success_beside_failed_evidence_is_flagged(tool, strict):
    # given a service that is down, an exporter that is away, a proof that is not there
    tool.host.program("systemctl", "echo failed")
    wanted = ["--allowed_services", GATE, "--metrics_urls", "http://127.0.0.1:1/metrics",
              "--proof_path", "/nonexistent/proof.txt", "--redis_cmds", "FLUSHALL"]  # fmt: skip
    # when a success is recorded
    code = tool(*wanted, *(["--strict"] if strict else []))
    # then it stands, flagged, each problem is told, and in strict mode it fails the deploy
    data = tool.data()
    assert (data["outcome"], data["evidence"]) == ("SUCCESS", "incomplete")
    assert len(data["evidence_problems"]) == 4
    said = "ERROR" if strict else "WARNING"
    for problem in data["evidence_problems"]:
        assert f"{said}: evidence: {problem}\n" in tool.err
    assert code == (1 if strict else 0)
    assert "Ledger entry recorded" in tool.out
    # the same once more is already recorded; strict judges the evidence of this run
    name = tool.records()[-1]["id"]
    assert tool(*wanted, "--operation_id", name, *(["--strict"] if strict else [])) == code
    assert tool("--allowed_services", GATE, "--operation_id", name) == 0
    assert len(tool.records()) == 1


def test_a_rollback_beside_failed_evidence_fails_no_strict_deploy(tool):
    tool()
    undone = tool.records()[-1]["id"]
    code = tool("--outcome", "ROLLBACK", "--rollback_of", undone, "--proof_path", "/nonexistent",
                "--strict")  # fmt: skip
    assert code == 0
    assert "WARNING: evidence: proof_file" in tool.err


CANARY = "Zk3canary9Qw"
IN_TEXTS = {
    "--operation": f"deploy with --password {CANARY}",
    "--objective": f"BINANCE_API_SECRET={CANARY}",
    "--blast_radius": f"redis://:{CANARY}@host:6379/0",
    "--changes_summary": f"Authorization: Bearer {CANARY}",
    "--notes": f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----\ntoken: {CANARY}",
    "--requested_by": f"me, password={CANARY}",
    "--approved_by": f"redis-cli -a {CANARY}",
    "--allowed_paths": f"/x?api_key={CANARY}",
    "--allowed_services": f"pw={CANARY}",
    "--operation_id": f"token={CANARY}",
    "--rollback_of": f"secret={CANARY}",
    "--proof_path": f"/nonexistent/password={CANARY}",
    "--metrics_grep": f"pw={CANARY}",
    "--redis_cmds": f"GET password={CANARY}",
}


def everything(tool):
    """Each file that the ledger wrote, whatever it is for."""
    files = [path for path in tool.base.rglob("*") if path.is_file()]
    assert files
    return {str(path): path.read_bytes() for path in files}


def test_no_secret_stands_in_any_file_of_the_ledger(tool, server, exporter, tmp_path):
    # given canaries in everything that is given, and in everything that is looked at
    tool.host.program("systemctl", f"echo active; echo 'token={CANARY}' >&2")
    tool.host.program(
        "journalctl", f"echo 'connected to redis://:{CANARY}@h'; echo 'bare {CANARY}'"
    )
    db = server.connect()
    db.hset("quantum:h", mapping={"api_key": CANARY, "text": f"--pass {CANARY}", "bare": CANARY})
    metrics = Exporter(page(f'up{{password="{CANARY}"}} 1\nbare_{CANARY} 1\n'.encode()))
    texts = [f"{name}={value}" for name, value in IN_TEXTS.items()]
    # and one known by its value alone, because it is a secret of the environment
    environ = {"REDIS_PASSWORD": CANARY}
    # when it is recorded, refused, and spooled
    tool(
        *texts, "--allowed_services=gate", f"--metrics_urls={metrics.url}?token={CANARY}",
        f"--metrics_urls=http://u:{CANARY}@127.0.0.1:{metrics.port}/", "--outcome=ROLLBACK",
        "--redis_cmds=HGETALL quantum:h",
        without=("operation", "objective", "blast_radius", "changes_summary"), **environ,
    )  # fmt: skip
    metrics.close()
    said = tool.out + tool.err
    tool("--changes_summary", "", "--notes", f"token={CANARY} {CANARY}", **environ)
    said += tool.out + tool.err
    (tool.folder.journal / "x").mkdir()
    (segment,) = tool.folder.segments()
    whole = segment.read_bytes()
    segment.write_bytes(b"")
    tool("--notes", f"token={CANARY} {CANARY}", **environ)
    said += tool.out + tool.err
    assert spool.waiting(tool.folder)
    spooled = everything(tool)
    segment.write_bytes(whole)
    tool(**environ)
    said += tool.out + tool.err
    # then no file holds it, and nothing that was said does
    for name, content in {**spooled, **everything(tool)}.items():
        assert CANARY.encode() not in content, name
        assert CANARY not in name
    assert CANARY not in said
    # but what was recorded still tells what it is about
    text = tool.folder.changelog.read_text()
    assert "BINANCE_API_SECRET=[redacted]" in text
    assert "redis://:[redacted]@host:6379/0" in text
    assert (tool.base / "logs").is_dir()
    assert verify(tool.folder).ok


def test_a_conflict_and_a_repeat_are_of_the_redacted_content(tmp_path):
    # given an operation with a secret in it
    ledger = Ledger(tmp_path)
    name = "OPS-2026-01-27-001"
    ledger.one(operation_id=name, notes=f"token={CANARY}")
    # when it comes with another secret / then it is the same operation: nobody can tell them apart
    assert ledger.one(operation_id=name, notes="token=other").outcome == "already"
    # and other content is a conflict, which holds no secret either
    assert ledger.one(operation_id=name, notes=f"password={CANARY}").outcome == "conflict"
    assert CANARY.encode() not in b"".join(
        path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()
    )


def test_a_spooled_request_holds_no_secret(tmp_path):
    folder = book.Folder.at(tmp_path)
    given = request(notes=f"token={CANARY}", stream="cli", stream_id="1",
                    evidence={"redis_snapshot": f"password={CANARY}"})  # fmt: skip
    path = spool.put(folder, given)
    assert CANARY not in path.read_text()
    assert spool.read(path) == entry.redacted(given)


def test_evidence_never_raises(tmp_path, monkeypatch):
    host = Host(tmp_path)
    monkeypatch.setattr(collector, "run", lambda _: 1 / 0)
    found = host.collect()
    assert found["evidence_problems"] == [
        "evidence: could not be collected: ZeroDivisionError('division by zero')"
    ]
    assert found["hostname"]


def test_a_look_that_never_comes_back_is_left_behind_and_they_are_counted(monkeypatch):
    import threading

    # given looks that hang, like a name server that does not answer
    gate = threading.Event()
    monkeypatch.setattr(jobs, "_room", threading.BoundedSemaphore(2))
    hung = jobs.Job("dns", 0.05, lambda _: gate.wait(30) and None)
    # when more of them begin than may be on their way
    found = jobs.run([hung, hung, hung])
    # then each is told, and nobody waited
    assert [one.problems for one in found] == [
        ["dns: no answer within 0.05 s"], ["dns: no answer within 0.05 s"],
        ["dns: too many earlier looks have not come back"],
    ]  # fmt: skip
    gate.set()


def test_whatever_a_look_raises_is_a_problem(tmp_path):
    def look(_):
        raise RecursionError("deep")

    (found,) = jobs.run([jobs.Job("git", 5, look)])
    assert found.problems == ["git: RecursionError('deep')"]


def test_hostile_events_bring_no_entry_down(tmp_path):
    # given everything odd at once, as an event may hold it
    host = Host(tmp_path)
    odd = ["\x00", "\ud800", "a\nb", "-", "--", "{{x}}", "`id`", "$(id)", "💥", "x" * 100_000]
    found = host.collect(
        operation="../\x00", services=odd, proof_path="\ud800", metrics_urls=odd,
        metrics_grep=odd, redis_cmds=odd,
    )  # fmt: skip
    # then it is evidence, and a record takes it
    assert found["evidence"] == "incomplete"
    ledger = Ledger(tmp_path / "l")
    receipt = ledger.one(evidence=found)
    assert receipt.outcome == "recorded"
    assert len(receipt.line) <= 64 * 1024
    data = json.loads(receipt.line)["data"]
    for read in READERS.values():
        (shown,) = reader.fenced(ledger.folder.changelog.read_text())
        assert read(shown)["evidence_problems"] == data["evidence_problems"]
    assert NOW
