"""Stories of deploys under a real supervisord: proven, refused, taken back, recorded."""

from __future__ import annotations

import contextlib
import re
import shutil
import stat
import sys
from pathlib import Path

import pytest

from ops.daemon import Daemon
from quantum_ops import events
from quantum_ops.publisher import Publisher
from tests.deploy_rig import CRASHES, DIES_LATER, NEVER_READY, QUICK, REFUSES, Site
from tests.supervised import PROGRAM, ROOT
from tests.waiting import wait_until

pytestmark = pytest.mark.whole


@pytest.fixture(scope="module")
def shared():
    with contextlib.closing(Site()) as site:
        site.start()
        yield site


def good(site: Site) -> str:
    """The commit that ``worker`` was deployed at, deployed now if it was not."""
    accepted = site.deployed().accepted
    if accepted is None or site.runs() != {accepted.commit}:
        site.commit("works")
        assert site.deploy().returncode == 0
    return site.deployed().accepted.commit


@pytest.fixture
def site(shared):
    """A running system; each story leaves it ready."""
    shared.git("checkout", "-q", "-f", "main")
    shared.git("clean", "-q", "-fd", "-e", "ops/ledger", "-e", "docs")
    shared.wait_ready(30)
    return shared


SPARE = """process_name=gate-%(process_num)02d
numprocs_start=1
autostart=false"""


def last_line(text: str, start: str) -> str:
    return next(line for line in reversed(text.splitlines()) if line.startswith(start))


def test_a_deploy_is_proven_and_recorded(site):
    # given a new commit
    before, pids = site.git("rev-parse", "HEAD").strip(), site.pids()
    commit = site.commit("Worker: counts better")
    # when it is deployed
    done = site.deploy("worker", "--redis_cmds", "HGETALL quantum:ops:heartbeat:worker:0")
    # then its id in the ledger is told, and the ledger has it
    assert done.returncode == 0, done.stdout + done.stderr
    operation_id = last_line(done.stdout, "recorded: ").removeprefix("recorded: ")
    record = site.recorded()[-1]
    assert record["operation_id"] == operation_id
    assert record["outcome"] == "SUCCESS"
    assert record["allowed_services"] == ["worker"]
    assert record["allowed_paths"] == ["NEWS"]
    assert record["changes_summary"] == f"{before[:12]}..{commit[:12]}: Worker: counts better"
    assert f"deployed={commit} before={before}" in record["notes"]
    # and both processes are new, run from the release, and nothing else was touched
    after = site.pids()
    assert site.runs() == {commit}
    changed = {name for name in pids if pids[name] != after[name]}
    assert changed == {"worker-00", "worker-01"}
    # and the proof says what was seen, to its owner only
    proof = Path(site.entries()[-1]["proof_path"])
    assert stat.S_IMODE(proof.stat().st_mode) == 0o600
    text = proof.read_text()
    for name in changed:
        assert f"{name}: pid {pids[name]} -> {after[name]}" in text
    assert "pass  redis: HGETALL quantum:ops:heartbeat:worker:0" in text
    assert commit in text
    assert "FAIL" not in text


def test_the_second_deploy_rolls_process_by_process_and_is_found_after_a_stop(site):
    # given a program that runs from a release already
    good(site)
    commit = site.commit("two")
    # when it is deployed again
    done = site.deploy()
    assert done.returncode == 0, done.stderr
    # then one was ready before the next was stopped
    steps = [line for line in done.stdout.splitlines() if line.startswith("worker-0")]
    assert [line.split(":")[0] for line in steps] == ["worker-00", "worker-01"]
    # and the system comes back as it was deployed, whatever is checked out by then
    site.commit("three, not deployed")
    assert site.verb("stop").returncode == 0
    site.start()
    assert site.runs() == {commit}
    assert site.verb("deploy").stdout.startswith(f"worker               {commit[:12]}")


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (CRASHES, "worker-00 died: "),
        (NEVER_READY, "worker-00 not ready after 3 s: "),
        (DIES_LATER, "(died: |was ready under pid)"),
        (REFUSES, "worker-00 died: "),
    ],
    ids=["crashes", "never ready", "dies later", "refuses its settings"],
)
def test_a_release_that_does_not_prove_itself_is_taken_back(site, code, why):
    # given a release that works, and then one that does not
    before = good(site)
    kept = site.pids()["worker-01"]
    bad = site.commit("does not work", code)
    # when that is deployed
    done = site.deploy("worker", "--wait", "3", "--settle", "2")
    # then the old one is back and ready
    assert done.returncode == 3, done.stdout + done.stderr
    assert re.search(why, done.stderr), done.stderr
    assert site.runs() == {before}
    site.wait_ready()
    # and what had not been reached yet was never stopped
    if code is not DIES_LATER:
        assert site.pids()["worker-01"] == kept
    # and both are in the ledger, the second naming the first
    failed, back = site.recorded()[-2:]
    assert failed["outcome"] == "PARTIAL"
    assert f"deployed={bad} before={before}" in failed["notes"]
    assert "not proven" in failed["notes"]
    assert back["outcome"] == "ROLLBACK"
    assert back["rollback_of"] == failed["operation_id"]
    assert "validation_problems" not in back
    assert site.deployed().accepted.commit == before
    assert site.deployed().outbox == ()
    # and the proof of the failure holds the program's last words
    assert "FAILED" in Path(site.entries()[-2]["proof_path"]).read_text()


def test_a_failed_check_takes_it_back(site):
    before = good(site)
    site.commit("works too")
    # when a key that should be there is not, and a command would write
    asked = ("--redis_cmds", "HGETALL quantum:nobody:wrote:this", "SET was:here 1")
    done = site.deploy("worker", *asked)
    # then it is taken back
    assert done.returncode == 3
    assert "FAIL  redis: HGETALL quantum:nobody:wrote:this: there is nothing" in done.stdout
    assert "FAIL  redis: SET was:here 1: not sent" in done.stdout
    assert site.connect().get("was:here") is None
    assert site.runs() == {before}


def test_a_critical_finding_during_the_deploy_takes_it_back(site):
    before = good(site)
    commit = site.commit("trips an auditor")
    running = site.begin("deploy", "worker", *QUICK, "--settle", "3")
    site.begun(lambda found: (found["attempt"] or {}).get("commit") == commit)
    Publisher(site.connect()).publish(
        events.AuditFinding(auditor="x", finding="executed_without_permits", severity="critical")
    )
    text = running.communicate(timeout=60)[0]
    assert running.returncode == 3, text
    assert "check findings failed" in text
    assert site.runs() == {before}


@pytest.mark.parametrize("soil", ["README", "consumers/new.py", "staged"])
def test_a_dirty_work_tree_is_refused(site, soil):
    # given something that is not committed
    path = site.tree / soil
    path.write_text("x = 1\n")
    if soil == "staged":
        site.git("add", "staged")
    before, events_before = site.pids(), len(site.entries())
    # when a deploy is asked for
    done = site.deploy()
    # then it is named, and nothing was changed
    assert done.returncode == 1
    assert soil in done.stderr
    assert "deploy again" in done.stderr
    assert site.pids() == before
    assert len(site.entries()) == events_before
    site.git("reset", "-q", "--hard")
    path.unlink(missing_ok=True)


def test_the_ledgers_own_files_do_not_make_it_dirty(site):
    # given a ledger that writes into the checkout, as it does by default
    good(site)
    assert (site.tree / "docs" / "OPS_CHANGELOG.md").exists()
    assert site.git("status", "--porcelain")
    # then the next deploy is not refused for it
    site.commit("another")
    done = site.deploy()
    assert done.returncode == 0, done.stderr


def test_a_detached_head_is_deployed_as_the_commit_it_is(site):
    commit = site.commit("to be detached")
    site.git("checkout", "-q", "--detach")
    done = site.deploy()
    assert done.returncode == 0, done.stderr
    assert "(detached HEAD)" in done.stdout
    assert site.runs() == {commit}


@pytest.mark.parametrize(
    ("argv", "code", "told"),
    [
        (["nobody"], 4, "no supervisor/conf.d/nobody.conf"),
        (["../../etc"], 2, "PROGRAM '../../etc'"),
        (["worker\nevil"], 2, "PROGRAM 'worker\\\\nevil'"),
        (["worker", "--metrics_urls", "file:///etc/passwd"], 2, "write http://"),
        (["worker", "--metrics_urls", "http://u:canary@h/"], 2, "has a password in it"),
        (["worker", "--metrics_grep", "("], 2, "no regular expression"),
        (["worker", "--metrics_grep", "x"], 2, "nothing to search"),
        (["worker", "--notes", "\udcff"], 2, "no UTF-8"),
    ],
)
def test_what_cannot_be_deployed_is_refused_before_anything(site, argv, code, told):
    before = site.pids()
    done = site.verb("deploy", *argv)
    assert done.returncode == code, done.stdout + done.stderr
    assert told in done.stderr
    assert "canary" not in done.stderr
    assert site.pids() == before


def test_hostile_commit_messages_and_file_names_are_data(site):
    name = 'we"ird\n: *&x\x1b[31m'
    (site.tree / name).write_text("")
    subject = 'fix #42: it\'s "done" $(reboot) \x1b[2J deployed=' + "0" * 40 + " before=none"
    commit = site.commit(subject)
    done = site.deploy("worker", "--notes", "outcome: SUCCESS\nrollback_of: OPS-2026-01-01-001")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    record = site.recorded()[-1]
    assert record["changes_summary"].endswith(subject.replace("\x1b", "\\x1b"))
    assert any("we" in path and "\n" not in path for path in record["allowed_paths"])
    assert record["notes"].startswith(f"deployed={commit} ")
    # and the rollback goes by what the deploy wrote, not by what the message says
    undone = site.verb("rollback", record["operation_id"], *QUICK)
    assert undone.returncode == 0, undone.stderr


def test_a_second_deploy_of_the_same_program_is_refused_meanwhile(site):
    site.commit("slow")
    first = site.begin("deploy", "worker", *QUICK, "--settle", "3")
    site.begun(lambda found: found["attempt"])
    second = site.deploy()
    assert second.returncode == 75
    assert f"pid {first.pid}" in second.stderr
    text = first.communicate(timeout=60)[0]
    assert first.returncode == 0, text


def test_a_changed_stanza_comes_with_its_release_and_goes_with_it(site):
    # given a release that works, and one whose stanza is another one
    good(site)
    path = site.tree / "supervisor" / "conf.d" / "worker.conf"
    path.write_text(path.read_text().replace("stopwaitsecs=30", "stopwaitsecs=31"))
    site.commit("drains longer")
    # then only a deploy puts it into force
    daemon = Daemon(site.paths.supervisor_socket)
    assert waits(daemon) == {30}
    assert site.deploy().returncode == 0
    assert waits(daemon) == {31}
    # and going back takes it back
    undone = site.verb("rollback", site.recorded()[-1]["operation_id"], *QUICK)
    assert undone.returncode == 0, undone.stderr
    assert waits(daemon) == {30}
    # and a stanza that supervisord cannot read is refused with nothing changed
    before = site.pids()
    path.write_text(path.read_text().replace("stopwaitsecs=31", "stopwaitsecs=soon"))
    site.commit("nonsense")
    done = site.deploy()
    assert done.returncode == 1, done.stdout
    assert "soon" in done.stderr
    assert site.pids() == before
    site.git("revert", "--no-edit", "HEAD")
    site.git("revert", "--no-edit", "HEAD~2")


def waits(daemon: Daemon) -> set[int]:
    return {process.stop_wait_s for process in daemon.processes() if process.program == "worker"}


def test_a_rollback_takes_back_exactly_the_last_deploy(site):
    # given two deploys
    first = site.commit("one")
    done = site.deploy()
    older = last_line(done.stdout, "recorded: ").removeprefix("recorded: ")
    site.commit("two")
    assert site.deploy().returncode == 0
    newer = site.recorded()[-1]["operation_id"]
    # then the older one is refused: the newer stands on it
    refused = site.verb("rollback", older, *QUICK)
    assert refused.returncode == 1
    assert newer in refused.stderr
    # when the newer is taken back, with a work tree that is dirty: an emergency does not wait
    (site.tree / "NEWS").write_text("half an idea")
    undone = site.verb("rollback", newer, "--why", "latency", *QUICK)
    assert undone.returncode == 0, undone.stderr
    # then the code is back, the work tree is as it was, and the ledger says so
    assert site.runs() == {first}
    assert (site.tree / "NEWS").read_text() == "half an idea"
    record = site.recorded()[-1]
    assert (record["outcome"], record["rollback_of"]) == ("ROLLBACK", newer)
    assert "latency" in record["notes"]
    assert last_line(undone.stdout, "recorded: ") == f"recorded: {record['operation_id']}"
    # and it cannot be taken back twice, nor can a rollback
    again = site.verb("rollback", newer, *QUICK)
    assert again.returncode == 1
    assert record["operation_id"] in again.stderr
    assert site.verb("rollback", record["operation_id"], *QUICK).returncode == 1
    # but the older one, which is in force again, can
    undone = site.verb("rollback", older, *QUICK)
    assert undone.returncode == 0, undone.stderr
    assert site.recorded()[-1]["rollback_of"] == older


def test_rollback_refuses_what_it_cannot_revert(site):
    assert site.verb("rollback", "OPS-2001-01-01-001").returncode == 4
    malformed = site.verb("rollback", "OPS-1")
    assert malformed.returncode == 2
    assert "OPS-YYYY-MM-DD-NNN" in malformed.stderr
    # given an operation that somebody recorded by hand
    Publisher(site.connect()).publish(
        events.DeployCompleted(
            operation="by hand", objective="o", risk_class="READ_ONLY", blast_radius="none",
            changes_summary="c", event_id="by-hand",
        )
    )  # fmt: skip
    wait_until(lambda: site.recorded()[-1]["operation_name"] == "by hand", 10)
    done = site.verb("rollback", site.recorded()[-1]["operation_id"])
    assert done.returncode == 1
    assert "does not name the commits" in done.stderr


def test_without_a_ledger_the_deploy_succeeds_and_says_where_the_event_waits(site):
    # given a ledger that does not run
    daemon = Daemon(site.paths.supervisor_socket)
    ledger = next(p for p in daemon.processes() if p.program == "ledger")
    daemon.stop(ledger)
    daemon.wait_stopped([ledger], lambda: None)
    known = len(site.recorded())
    commit = site.commit("nobody looks")
    # when it is deployed, STRICT_LEDGER being false, as it is by default
    done = site.deploy("worker", "--ledger_wait", "0.3", STRICT_LEDGER="false")
    # then it is deployed, with a warning that names the entry
    assert done.returncode == 0, done.stderr
    assert re.search(r"WARNING: .*deploy.completed/\d+-\d+", done.stderr)
    assert site.runs() == {commit}
    # when it is strict
    before, told = site.pids(), len(site.entries())
    strict = site.deploy("worker", "--ledger_wait", "0.3", STRICT_LEDGER="true")
    # then it fails before anything is changed
    assert strict.returncode == 1
    assert "ledger is not ready" in strict.stderr
    assert site.pids() == before
    assert len(site.entries()) == told
    assert site.deploy(STRICT_LEDGER="perhaps").returncode == 2
    # and what waited is recorded once, when the ledger is there again
    daemon.start(ledger)
    wait_until(lambda: len(site.recorded()) == known + 1, 15, "it is recorded")


def test_strict_fails_if_the_entry_does_not_come(site):
    # given a ledger that is ready but deaf
    commit = site.commit("strictly")
    done = site.deploy("worker", "--ledger_wait", "0", "--strict", LEDGER_DIR="elsewhere")
    # then either it was recorded at once, or the deploy fails and stands
    assert site.runs() == {commit}
    assert done.returncode == (0 if "recorded:" in done.stdout else 1), done.stderr


def test_a_program_that_did_not_run_before_is_stopped_again(site):
    site.add("newcomer", "consumers")
    site.commit("a newcomer that crashes", CRASHES)
    done = site.deploy("newcomer", "--wait", "3")
    assert done.returncode == 3, done.stderr
    assert "stopped again" in done.stderr
    assert site.pids()["newcomer-00"] == 0
    # and deployed in a version that works, it runs
    site.commit("a newcomer", PROGRAM)
    assert site.deploy("newcomer").returncode == 0
    assert site.recorded()[-1]["allowed_services"] == ["newcomer"]
    site.without("newcomer")


def test_spares_go_on_while_the_first_group_is_made_anew(site):
    # given a program of two groups, a process of each running, that was never deployed
    site.add("gate", "consumers")
    site.add("gate_spare", "consumers", extra=SPARE)
    stanza = site.tree / "supervisor" / "conf.d" / "gate_spare.conf"
    text = re.sub(r"(?m)^process_name=%.*\n", "", stanza.read_text())
    stanza.write_text(text.replace("-m consumers gate_spare", "-m consumers gate"))
    site.commit("a gate")
    assert site.verb("supervisorctl", "update").returncode == 0
    assert site.verb("scale", "gate", "2").returncode == 0
    # when it is deployed for the first time, which changes both stanzas
    done = site.deploy("gate")
    assert done.returncode == 0, done.stderr
    assert len(site.runs("gate")) == 1
    # then the second was stopped only after the new first one was ready
    log = (site.paths.log / "supervisord.log").read_text()
    assert log.rindex("success: gate-00 entered RUNNING") < log.rindex("stopped: gate-01")
    site.without("gate", "gate_spare")


def test_the_ledger_itself_is_deployed_and_goes_on_in_the_same_journal(site):
    # given a ledger in the checkout, where it stays
    known = len(site.recorded())
    assert known
    commit = site.commit("a new ledger")
    # when its program is deployed, so that its code is elsewhere
    done = site.deploy("ledger")
    # then the new one records its own deploy, after all others
    assert done.returncode == 0, done.stderr
    assert "recorded: " in done.stdout
    assert site.runs("ledger") == {commit}
    assert len(site.recorded()) == known + 1
    assert site.recorded()[-1]["allowed_services"] == ["ledger"]
    assert not (site.paths.releases / commit / "ops" / "ledger").exists()
    assert site.recorded()[-1]["git_commit"] == commit


def test_the_scripts_do_it_all_as_an_operator_types_them(site):
    # given a checkout that ./run has set up
    venv = site.home / "venv"
    (venv / "bin").mkdir(parents=True, exist_ok=True)
    python = venv / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (venv / "quantum.stamp").write_text(f"{venv}\n\n/usr/bin/python3.11\n")
    (venv / "etc").mkdir()
    (venv / "etc" / "supervisord.conf").touch()
    for name in ("run", "requirements.lock"):
        shutil.copy(ROOT / name, site.tree / name)
    shutil.copy(ROOT / "requirements.lock", venv / "quantum.lock")
    commit = site.commit("with its scripts")
    # when the deploy script is called from anywhere, through any shell
    done = site.script("deploy_and_proof.sh", "worker", *QUICK)
    assert done.returncode == 0, done.stdout + done.stderr
    assert site.runs() == {commit}
    operation_id = last_line(done.stdout, "recorded: ").removeprefix("recorded: ")
    # then its rollback is a script, too
    undone = site.script("rollback.sh", operation_id, *QUICK)
    assert undone.returncode == 0, undone.stderr
    assert site.recorded()[-1]["rollback_of"] == operation_id
    # and programs that do not exist yet are refused with their names, and nothing is recorded
    known, proofs = len(site.entries()), list(site.paths.proofs.iterdir())
    for script, program in {
        "p26": "quantum-portfolio-gate",
        "p27": "quantum-portfolio-clusters",
        "p28": "quantum-risk-governor",
    }.items():
        refused = site.script(f"{script}_deploy_and_proof.sh")
        assert refused.returncode == 4
        assert refused.stderr.startswith(f"{program}: no such program in this checkout")
    assert site.script("deploy_and_proof.sh").returncode == 2
    assert len(site.entries()) == known
    assert list(site.paths.proofs.iterdir()) == proofs
    assert not list(site.paths.deploys.glob("quantum-*"))
