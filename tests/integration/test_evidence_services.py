"""Services as their supervisors tell of them: every state by its name, logs kept, no waiting."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from quantum_ops.ledger.evidence import collector, logs, services, supervisord
from tests.evidence_rig import Host, soon
from tests.waiting import wait_until

UNIT = "quantum-portfolio-clusters"
NO_SUPERVISOR = "exit 4"


@pytest.fixture
def host(tmp_path):
    host = Host(tmp_path)
    host.program("supervisorctl", NO_SUPERVISOR)
    host.program("journalctl", "echo one; echo two")
    return host


def systemctl(host, word, code=0, load="loaded"):
    """A systemctl that answers as the real one does."""
    host.program(
        "systemctl",
        f'case "$1" in is-active) echo {word}; exit {code};; show) echo LoadState={load};; esac',
    )


@pytest.mark.parametrize("word", [
    "active", "inactive", "failed", "activating", "deactivating", "reloading", "maintenance",
])  # fmt: skip
def test_every_state_is_told_apart(host, word):
    systemctl(host, word, 0 if word == "active" else 3)
    found = host.collect(services=[UNIT])
    assert found["services_status"] == {UNIT: word}
    # an operation that is said to have succeeded has active services
    problems = found.get("evidence_problems", [])
    told = f"service {UNIT}: {word}, while the outcome is SUCCESS"
    assert problems == ([] if word == "active" else [told])
    # after a rollback it is what was to be seen
    assert "evidence" not in host.collect(services=[UNIT], outcome="ROLLBACK")


def test_a_unit_that_does_not_exist_is_unknown_not_inactive(host):
    systemctl(host, "inactive", 4, load="not-found")
    found = host.collect(services=[UNIT], outcome="ROLLBACK")
    assert found["services_status"] == {UNIT: "unknown"}
    assert found["evidence_problems"] == [f"service {UNIT}: there is no such unit"]


def test_a_host_without_systemd_has_unknown_services(host):
    host.program("systemctl", "echo 'System has not been booted with systemd' >&2; exit 1")
    found = host.collect(services=[UNIT])
    assert found["services_status"] == {UNIT: "unknown"}
    assert "has not been booted with systemd" in found["evidence_problems"][0]
    (host.bin / "systemctl").unlink()
    host.without("systemctl")
    assert host.problems(services=[UNIT]) == [f"service {UNIT}: systemctl is not installed"]


@pytest.mark.parametrize(
    "name", ["a,b", "--now", "*", "quantum-*", "a b", "", "../x", "a\nb", "x" * 300]
)
def test_what_is_no_name_of_a_service_is_not_asked_about(host, name):
    host.program("systemctl", "touch asked; echo active")
    found = host.collect(services=[name])
    assert "services_status" not in found
    assert "is no name of a service" in found["evidence_problems"][0]


def test_the_last_30_log_lines_are_kept_redacted_beside_the_journal(host):
    systemctl(host, "active")
    host.program(
        "journalctl",
        'i=1; while [ $i -le 40 ]; do echo "line $i password=hunter2word"; i=$((i+1)); done\n'
        "printf 'esc\\033[31m \\377 end\\n'",
    )
    found = host.collect(services=[UNIT])
    path = host.logs / "OPS-2026-01-27-011" / f"{UNIT}.log"
    lines = path.read_text().splitlines()
    assert len(lines) == 30
    assert lines[0] == "line 12 password=[redacted]"
    assert lines[-1] == "esc\\x1b[31m \\xff end"
    # the entry names the file, and proves it
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert found["services_logs"] == {UNIT: f"logs/OPS-2026-01-27-011/{UNIT}.log sha256:{digest}"}
    assert "evidence" not in found


def test_logs_that_nobody_may_read_are_a_problem_of_the_logs_alone(host):
    systemctl(host, "active")
    host.program("journalctl", "echo 'No journal files were opened' >&2; exit 1")
    found = host.collect(services=[UNIT])
    assert found["services_status"] == {UNIT: "active"}
    assert found["evidence_problems"] == [f"log of {UNIT}: No journal files were opened"]


def test_logs_that_cannot_be_kept_are_a_problem(host):
    systemctl(host, "active")
    host.logs.parent.mkdir()
    host.logs.write_text("in the way")
    assert host.problems(services=[UNIT])[0].startswith(f"log of {UNIT}: cannot be kept")


def test_an_operation_s_name_leads_to_no_other_folder(tmp_path):
    logs.keep(tmp_path / "logs", "../../x", {"..": b"a"}, ())
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*.log")] == [
        Path("logs/_._.._x/_..log")
    ]


@pytest.mark.parametrize("script", ["sleep 60", "sleep 60 & echo active; wait", "yes"])
def test_a_systemctl_that_hangs_or_floods_is_ended(host, script):
    host.program("systemctl", f"echo $$ > {host.root}/pid; {script}")
    found = services.look(UNIT, "SUCCESS", host.root, host.environ, soon(0.5))
    assert found.fields["services_status"] == {UNIT: "unknown"}
    assert "did not answer in time" in found.problems[0]
    # with whatever it started
    pid = (host.root / "pid").read_text().strip()
    wait_until(lambda: subprocess.run(["pgrep", "-g", pid], check=False).returncode == 1)


def test_a_child_that_a_program_leaves_behind_is_not_waited_for(host):
    systemctl(host, "active")
    host.program("journalctl", "echo one; (sleep 60 &) ; exit 0")
    found = services.look(UNIT, "SUCCESS", host.root, host.environ, soon(30))
    assert found.logs == {UNIT: b"one\n"}


def test_programs_do_not_see_the_secrets_of_the_environment(host):
    host.environ["BINANCE_API_SECRET"] = "hunter2word"
    systemctl(host, "active")
    host.program("journalctl", "env")
    host.collect(services=[UNIT])
    text = next(host.logs.rglob("*.log")).read_text()
    assert "PATH=" in text
    assert "BINANCE" not in text


def test_supervisorctl_is_asked_before_systemctl(host):
    systemctl(host, "inactive", 3)
    host.program(
        "supervisorctl",
        'case "$1" in status) echo "gate RUNNING pid 7, uptime 0:00:03";; '
        "tail) echo from supervisor;; esac",
    )
    found = host.collect(services=["gate"])
    assert found["services_status"] == {"gate": "active"}
    assert next(host.logs.rglob("*.log")).read_text() == "from supervisor\n"


@pytest.mark.parametrize(("line", "state"), [
    ("gate FATAL Exited too quickly", "failed"), ("gate BACKOFF x", "activating"),
    ("gate STOPPED Not started", "inactive"), ("gate STARTING", "activating"),
    ("gate:gate_00 RUNNING pid 1\ngate:gate_01 FATAL x", "failed"),
])  # fmt: skip
def test_states_of_supervisorctl(host, line, state):
    host.program("supervisorctl", f"echo '{line}'; exit 3")
    assert host.collect(services=["gate"])["services_status"] == {"gate": state}


def test_many_services_take_no_longer_than_one(host):
    host.program("systemctl", "sleep 60")
    host.patient = False
    names = [f"s{number}" for number in range(30)]
    start = time.monotonic()
    found = host.collect(services=names)
    # generous: what is promised is that they do not add up (4 s each, 20 of them)
    assert time.monotonic() - start < 40
    assert len(found["services_status"]) == collector.MOST_OF_EACH
    assert (
        f"allowed_services: 30 are given, the first {collector.MOST_OF_EACH} looked at"
        in (found["evidence_problems"])
    )


CONF = """
[unix_http_server]
file={folder}/supervisor.sock
[supervisord]
nodaemon=true
logfile=/dev/null
logfile_maxbytes=0
pidfile={folder}/pid
childlogdir={folder}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[program:gate]
command=sh -c 'echo "up token=hunter2word"; exec sleep 600'
process_name=%(program_name)s-%(process_num)02d
startsecs=0
redirect_stderr=true
[program:spare]
command=sh -c 'echo up; exec sleep 600'
process_name=%(program_name)s-%(process_num)02d
autostart=false
startsecs=0
[program:broken]
command=sh -c 'exit 3'
autorestart=false
startsecs=0
"""


@pytest.fixture
def daemon(host):
    """A real supervisord of our own, where ./run would have it."""
    folder = Path(tempfile.mkdtemp(prefix="qe-"))
    (folder / "conf").write_text(CONF.format(folder=folder))
    process = subprocess.Popen(
        [Path(sys.executable).with_name("supervisord"), "-c", folder / "conf"],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    host.environ["QUANTUM_RUN_DIR"] = str(folder)
    try:
        wait_until(lambda: _answers(folder), what="supervisord answers")
        yield folder
    finally:
        process.terminate()
        process.wait(20)
        shutil.rmtree(folder)


def _answers(folder):
    try:
        found = supervisord.ask(folder / "supervisor.sock", "gate", soon())
        broken = supervisord.ask(folder / "supervisor.sock", "broken", soon())
    except OSError:
        return False
    states = [one and one.fields["services_status"] for one in (found, broken)]
    return states == [{"gate": "active"}, {"broken": "failed"}] and found.logs.get("gate")


def test_our_own_supervisord_is_asked_first(host, daemon):
    systemctl(host, "inactive", 3)
    for name in ("gate", "gate-00", "gate:gate-00"):
        found = host.collect(services=[name])
        assert found["services_status"] == {name: "active"}
        assert "evidence" not in found
    assert host.collect(services=["broken"])["services_status"] == {"broken": "failed"}
    assert host.collect(services=["spare"])["services_status"] == {"spare": "inactive"}
    # what it does not know, systemd is asked about
    assert host.collect(services=["other"])["services_status"] == {"other": "inactive"}
    texts = {path.read_text() for path in host.logs.rglob("gate*.log")}
    assert texts == {"up token=[redacted]\n"}


def test_a_socket_that_a_killed_supervisord_left_is_passed_over(host, tmp_path):
    import socket

    folder = Path(tempfile.mkdtemp(prefix="qe-"))
    systemctl(host, "active")
    host.environ["QUANTUM_RUN_DIR"] = str(folder)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(folder / "supervisor.sock"))
    assert host.collect(services=[UNIT])["services_status"] == {UNIT: "active"}
    # one that listens and never answers takes half of the time
    (folder / "supervisor.sock").unlink()
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(str(folder / "supervisor.sock"))
        hung.listen()
        found = services.look(UNIT, "SUCCESS", host.root, host.environ, soon(4))
    assert found.fields["services_status"] == {UNIT: "active"}
    shutil.rmtree(folder)
