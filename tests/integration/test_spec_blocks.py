"""The command blocks of the governor and the ledger, as they stand in the spec map, in a copy.

Each runs as an operator who types it: by bash, in the checkout's folder, with no setting.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys

import pytest

from quantum_ops.ledger import ids, moment, project
from quantum_ops.ledger.folder import Folder
from quantum_ops.ledger.journal import Journal
from tests.checkout import Checkout
from tests.contract.reference import ROOT
from tests.evidence_rig import Exporter, page
from tests.servers import Server
from tests.yaml_readers import READERS

SPEC = ROOT.parent / "shared" / "OPS_TOOLS_SPEC.md"
SECTIONS = ("Ops Governor Prompt Generator", "P5: ", "P5+ ")
MAP = (ROOT / "docs" / "spec-map.md").read_text(encoding="utf-8")
ISSUED = re.compile(r"^Auto-generated operation_id: (OPS-[0-9-]+)$", re.MULTILINE)
BEFORE = "OPS-2026-01-27-010"
SERVICES = ["quantum-portfolio-clusters", "quantum-portfolio-gate"]
DEPLOYED = {
    "p26": "quantum-portfolio-gate",
    "p27": "quantum-portfolio-clusters",
    "p28": "quantum-risk-governor",
}
SYSTEMCTL = 'case "$1" in is-active) echo {word}; exit {code};; show) echo LoadState=loaded;; esac'


def blocks(text):
    """Each block of shell commands below its heading."""
    found = {}
    for block in re.finditer(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        heading = re.findall(r"^#{3,4} (.*)$", text[: block.start()], re.MULTILINE)[-1]
        assert heading not in found
        found[heading] = block[1]
    return found


BLOCKS = blocks(MAP)


def test_the_map_has_the_blocks_of_the_specification_word_for_word():
    if not SPEC.exists():
        pytest.skip("the owner's specification is not beside the checkout")
    parts = re.split(r"^## ", SPEC.read_text(encoding="utf-8"), flags=re.MULTILINE)
    wanted = {}
    for part in parts:
        if part.startswith(SECTIONS):
            wanted |= blocks(part)
    assert wanted == BLOCKS


def test_each_block_has_its_story():
    assert sorted(BLOCKS) == sorted(STORIES)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    if Folder.find({}, ROOT).segments():
        pytest.skip("this checkout has a journal: the blocks are for one that has none yet")
    made = Checkout(tmp_path_factory.mktemp("template"))
    made.commit_all()
    made.program("supervisorctl", "exit 4")
    made.program("journalctl", "echo one; echo two")
    return made


@pytest.fixture
def checkout(template, tmp_path):
    return template.copy(tmp_path)


class Said:
    """What a block printed, and what stands in the ledger then."""

    def __init__(self, checkout, block, **environ):
        ran = checkout.ran("bash", "-c", f"{block}", **environ)
        self.code, self.out, self.err = ran.returncode, ran.stdout, ran.stderr
        folder = Folder.find({}, checkout.root)
        lines = [json.loads(line) for line in Journal(folder).lines()]
        self.records = [one["data"] for one in lines if one["type"] == "operation.recorded"]
        assert project.check(folder) == [] or "git checkout" in block

    @property
    def issued(self):
        return ISSUED.findall(self.out)

    def is_recorded(self, count=1):
        """All went well, and so many entries have their ids, from 001 on (or 011, on that day)."""
        assert self.code == 0, self.err
        assert self.issued == [one["operation_id"] for one in self.records]
        assert len(self.issued) == count
        assert all(ids.is_valid(one) for one in self.issued)


def run_example(checkout, tmp_path):
    said = Said(checkout, BLOCKS["Example"])
    assert (said.code, said.err) == (0, "")
    wanted = (ROOT / "tests" / "golden" / "prompt" / "grafana.txt").read_text(encoding="utf-8")
    assert said.out == wanted


def run_usage(checkout, tmp_path):
    said = Said(checkout, BLOCKS["Usage"])
    assert said.code == 0
    shown, _, block = said.out.rpartition("\n---\n")
    for option in re.findall(r"--[a-z_]+", BLOCKS["Usage"]):
        assert option in shown
    prompt = (ROOT / "tests" / "golden" / "prompt" / "usage.txt").read_text(encoding="utf-8")
    assert shown.endswith(prompt.rstrip("\n"))
    for read in READERS.values():
        fields = read(block)
        assert fields["operation_name"] == "Your operation name"
        assert fields["rollback_ref"] == "git-revert-<commit>"
        assert fields["notes"] == "Optional context"
        # The next free one: nobody has recorded anything today.
        assert re.fullmatch(r"OPS-\d{4}-\d\d-\d\d-0[01]1", fields["operation_id"])
    assert said.records == []


def run_manual(checkout, tmp_path):
    block = BLOCKS["Manual Invocation"]
    proof = tmp_path / "P2_7_PROOF.txt"
    proof.write_text("proven\n")
    exporter = Exporter(page(b"# HELP p27_corr_ready x\np27_corr_ready 1.0\nother 7\n"))
    for named, here in (("/home/qt/P2_7_PROOF_20260127.txt", str(proof)),
                        ("http://127.0.0.1:8048/metrics", exporter.url)):  # fmt: skip
        assert named in block
        block = block.replace(named, here)
    checkout.program("systemctl", SYSTEMCTL.format(word="active", code=0))
    server = Server("valkey")
    try:
        server.connect().hset("quantum:portfolio:cluster_state", "cluster_stress", "0.788")
        said = Said(checkout, block, REDIS_URL=server.url)
    finally:
        server.close()
        exporter.close()
    said.is_recorded()
    assert said.err == ""
    (found,) = said.records
    assert found["operation_name"] == "P2.7 Deploy — Portfolio Clusters"
    assert found["allowed_paths"] == ["microservices/portfolio_clusters/"]
    assert found["allowed_services"] == SERVICES
    assert (found["outcome"], found["notes"]) == ("SUCCESS", "Manual ledger entry")
    # and what it collects by itself
    head = checkout.git("rev-parse", "HEAD").strip()
    assert (found["git_commit"], found["git_branch"]) == (head, "main")
    assert found["services_status"] == dict.fromkeys(SERVICES, "active")
    digest = hashlib.sha256(b"proven\n").hexdigest()
    assert found["proof_file"]["sha256"] == digest[:16]
    assert found["proof_file"]["size_bytes"] == 7
    assert "p27_corr_ready 1.0" in found["metrics_snapshot"]
    assert "other" not in found["metrics_snapshot"]
    shown = "# redis-cli HGETALL quantum:portfolio:cluster_state\ncluster_stress\n0.788"
    assert shown in found["redis_snapshot"]


def run_self_test(checkout, tmp_path):
    start = moment.text(moment.now())
    said = Said(checkout, BLOCKS["Self-Test (No Network)"])
    said.is_recorded()
    assert said.err == ""
    for line in ("changes_summary: Test entry", "objective: Test ledger append",
                 "outcome: SUCCESS", "notes: Testing P5+ auto-ledger"):  # fmt: skip
        assert f"\n{line}\n" in said.out, "tail -30 shows that it was appended"
    done = re.search(r"^execution_timestamp: (.*)$", said.out, re.MULTILINE)[1]
    assert start <= done <= moment.text(moment.now())


def run_validation(checkout, tmp_path):
    block = BLOCKS["Validation Examples (P5+.1)"]
    said = Said(checkout, block)
    said.is_recorded(3)
    *warnings, issued = re.findall(r'^# Expected: "(.*)"', block, re.MULTILINE)
    assert len(warnings) == 2
    assert said.err.splitlines()[:2] == warnings
    assert "WARNING" not in "".join(said.err.splitlines()[2:]), "the third has none"
    assert issued.replace("OPS-2026-01-27-XXX", "") in said.out
    assert [one.get("rollback_of") for one in said.records] == [None, "INVALID-FORMAT", BEFORE]
    # The clean-up takes the page back, and no record.
    assert checkout.git("status", "--porcelain", "docs") == ""
    again = Said(checkout, BLOCKS["Self-Test (No Network)"])
    assert len(again.records) == 4
    page = (checkout.root / "docs" / "OPS_CHANGELOG.md").read_text(encoding="utf-8")
    assert page.count("\noutcome: ") == 4


def run_rollback(checkout, tmp_path):
    checkout.program("systemctl", SYSTEMCTL.format(word="inactive", code=3))
    said = Said(checkout, BLOCKS["Rollback Logging"])
    said.is_recorded()
    assert said.err == ""
    (found,) = said.records
    assert (found["outcome"], found["rollback_of"]) == ("ROLLBACK", BEFORE)
    assert found["risk_class"] == "SERVICE_RESTART"
    assert found["services_status"] == dict.fromkeys(SERVICES, "inactive")


def run_deploy(checkout, tmp_path):
    """Until the programs exist the scripts stop before they change anything, and say why."""
    block = BLOCKS["Integrated in Deploy Scripts"]
    home = set_up_home(tmp_path)
    for phase, program in DEPLOYED.items():
        script = block.replace("p27", phase)
        assert f"bash ops/{phase}_deploy_and_proof.sh" in script
        said = Said(checkout, script, QUANTUM_HOME=home)
        assert said.code == 4, said.err
        assert f"{program}: no such program in this checkout" in said.err
        assert "nothing was changed, nothing recorded" in said.err
        assert said.records == []


def set_up_home(base):
    """A QUANTUM_HOME whose environment is the one that these tests run in."""
    venv = base.resolve() / "home" / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (venv / "bin" / "python").chmod(0o755)
    base_python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (venv / "quantum.stamp").write_text(f"{venv}\n\n{base_python}\n")
    (venv / "etc").mkdir()
    (venv / "etc" / "supervisord.conf").touch()
    shutil.copy(ROOT / "requirements-dev.lock", venv / "quantum.lock")
    return str(venv.parent)


STORIES = {
    "Example": run_example,
    "Usage": run_usage,
    "Manual Invocation": run_manual,
    "Integrated in Deploy Scripts": run_deploy,
    "Self-Test (No Network)": run_self_test,
    "Validation Examples (P5+.1)": run_validation,
    "Rollback Logging": run_rollback,
}


@pytest.mark.parametrize("name", STORIES)
def test_a_block_prints_what_the_specification_says(name, checkout, tmp_path):
    STORIES[name](checkout, tmp_path)


@pytest.mark.parametrize("example", [1, 2])
def test_the_validation_examples_fail_in_strict_mode(checkout, example):
    """Given STRICT_LEDGER, when an example that warns is run, the deploy would fail: exit 1."""
    parts = re.split(r"^(?=# Example)", BLOCKS["Validation Examples (P5+.1)"], flags=re.MULTILINE)
    said = Said(checkout, parts[example], STRICT_LEDGER="true")
    assert said.code == 1
    (told,) = re.findall(r'^# Expected: "WARNING: (.*) \(continuing', parts[example], re.MULTILINE)
    assert said.err == f"{told}\n"
    assert said.records == []
