"""The warden under a real supervisord: what falls is started again, what is held is not."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from ops.daemon import Daemon
from ops.warden import holds
from quantum_ops import codec, streams
from quantum_ops.events import AuditFinding, OpsProcess
from tests.servers import Server
from tests.supervised import PROGRAM, ROOT, System
from tests.waiting import wait_until

pytestmark = pytest.mark.whole
PATIENT_S = 60
"""What is waited for comes for certain; on a busy machine a new process alone takes seconds."""

# A program that falls silent while the file `mute` stands.
FRAGILE = PROGRAM.replace(
    "    try:\n",
    "    if name == 'worker' and os.path.exists(os.environ['QUANTUM_HOME'] + '/mute'):\n"
    "        clock.wait(0.1)\n"
    "        continue\n"
    "    try:\n",
    1,
)
# One that ends at once while `broken` stands: in a shell, because on a busy machine Python alone
# takes longer than startsecs, and supervisord would not call that a failed start.
COMMAND = (
    """command=/bin/sh -c "test -e '%(ENV_QUANTUM_HOME)s/broken' && exit 1; """
    """exec '%(ENV_QUANTUM_PYTHON)s' -m consumers fragile\""""
)
QUICK = {
    "WARDEN_BACKOFF_BASE_SEC": "0.1", "WARDEN_SILENCE_SEC": "0.5", "WARDEN_MEMORY_GRACE_SEC": "0.5",
    "WARDEN_MEMORY_LIMITS": "greedy=1",
}  # fmt: skip


@pytest.fixture(scope="module")
def system():
    system = System().with_stand_ins()
    (system.tree / "consumers" / "__main__.py").write_text(FRAGILE)
    shutil.copy(ROOT / "supervisor/conf.d/warden.conf", system.tree / "supervisor/conf.d")
    system.add("fragile", "consumers")
    system.add("greedy", "consumers", extra="autostart=false\nnumprocs_start=1")
    stanza = system.tree / "supervisor/conf.d/fragile.conf"
    text = stanza.read_text().replace("startretries=100", "startretries=0")
    stanza.write_text(re.sub("(?m)^command=.*$", COMMAND.replace("\\", r"\\"), text))
    system.environ |= QUICK
    system.start()
    yield system
    system.close()


@pytest.fixture
def db(system):
    system.wait_ready()
    return system.connect()


def state(system, name: str) -> str:
    processes = Daemon(system.paths.supervisor_socket).processes()
    return next(process.state for process in processes if process.name == name)


def told(db, name: str) -> list[tuple[str, str]]:
    """The transitions of process ``name`` that stand in the stream."""
    decode = codec.Decoder(OpsProcess)
    entries = db.execute_command("XRANGE", streams.OPS_PROCESS.key, "-", "+")
    found = [decode(flat(fields)) for _, fields in pairs(entries)]
    return [(one.from_state, one.to_state) for one in found if one.process == name]


def findings(db, subject: str) -> list[str]:
    decode = codec.Decoder(AuditFinding)
    entries = db.execute_command("XRANGE", streams.AUDIT_FINDING.key, "-", "+")
    found = [decode(flat(fields)) for _, fields in pairs(entries)]
    return [one.finding for one in found if one.subject == subject]


def pairs(entries):
    return entries.items() if isinstance(entries, dict) else entries


def flat(fields):
    return (
        [part for pair in fields.items() for part in pair] if isinstance(fields, dict) else fields
    )


def test_every_change_is_recorded_and_a_dead_process_counts_as_one_restart(system, db):
    # given processes whose start was told while Redis was not even there
    wait_until(
        lambda: ("STARTING", "RUNNING") in told(db, "worker-00"), PATIENT_S, "the start is told"
    )
    assert told(db, "redis")[0] == ("STOPPED", "STARTING")
    # when one is killed
    os.kill(system.pids()["worker-00"], signal.SIGKILL)
    wait_until(lambda: len(told(db, "worker-00")) == 5, PATIENT_S, "its end and its start")
    # then nothing is told twice, and the restart is counted once
    assert told(db, "worker-00") == [
        ("STOPPED", "STARTING"), ("STARTING", "RUNNING"), ("RUNNING", "EXITED"),
        ("EXITED", "STARTING"), ("STARTING", "RUNNING"),
    ]  # fmt: skip
    assert db.hget(streams.WARDEN_RESTARTS, "worker") == b"1"


def test_what_gave_up_comes_back_and_what_is_held_does_not(system, db):
    # given a program that cannot start and is given up, on hold
    held = system.verb("hold", "fragile", "--why", "under repair")
    assert (held.returncode, "under repair" in held.stdout) == (0, True)
    (system.home / "broken").touch()
    os.kill(system.pids()["fragile-00"], signal.SIGKILL)
    wait_until(lambda: state(system, "fragile-00") == "FATAL", PATIENT_S, "given up")
    # and a worker that runs and says nothing any more
    (system.home / "mute").touch()
    before = system.pids()["worker-01"]

    def is_restarted() -> bool:
        db.hset(streams.heartbeat("worker", 1), "updated_ms", 1)
        return system.pids()["worker-01"] not in (0, before)

    wait_until(is_restarted, PATIENT_S, "restarted for silence")
    (system.home / "mute").unlink()
    # then the rounds that healed the one left the other alone
    assert state(system, "fragile-00") == "FATAL"
    assert findings(db, "fragile-00") == []
    wait_until(lambda: "process_silent" in findings(db, "worker-01"), PATIENT_S, "and it was told")
    # when it is released, broken as it is, then it is tried until it works
    assert "fragile: released" in system.verb("release", "fragile").stdout
    wait_until(lambda: findings(db, "fragile-00"), PATIENT_S, "tried again")
    (system.home / "broken").unlink()
    wait_until(lambda: state(system, "fragile-00") == "RUNNING", PATIENT_S, "back")
    assert set(findings(db, "fragile-00")) == {"process_gave_up"}
    assert int(db.hget(streams.WARDEN_HEALS, "fragile:fatal")) >= 1


def test_what_takes_too_much_memory_is_drained_and_starts_afresh(system, db):
    # given a program that may have one MiB and has forty, started by hand
    daemon = Daemon(system.paths.supervisor_socket)
    greedy = next(one for one in daemon.processes() if one.name == "greedy-01")
    daemon.start(greedy)
    pid = wait_until(lambda: system.pids()["greedy-01"], PATIENT_S, "it runs")
    # then it is asked to end, does so in its own way, and is started again by supervisord
    wait_until(lambda: system.pids()["greedy-01"] not in (0, pid), PATIENT_S, "another one")
    daemon.stop(greedy)
    # Told after the deed: it must not wait for a server that is away.
    wait_until(lambda: "process_over_memory" in findings(db, "greedy-01"), PATIENT_S, "it is told")
    assert b"greedy-01" in db.lrange("drained", 0, -1)


def test_kill_9_of_the_warden_and_of_the_server_lose_and_double_nothing(system, db):
    # given the ends of the warden, of a worker and of the server, all at once
    pids = system.pids()
    seen = len(told(db, "worker-00"))
    for name in ("redis", "warden", "worker-00"):
        os.kill(pids[name], signal.SIGKILL)
    # when everything has come back by itself
    wait_until(
        lambda: system.pids()["warden"] not in (0, pids["warden"]), PATIENT_S, "a new warden"
    )
    system.wait_ready(PATIENT_S)
    db = system.connect()
    wait_until(
        lambda: told(db, "redis")[-1:] == [("STARTING", "RUNNING")], PATIENT_S, "the server's"
    )
    wait_until(lambda: len(told(db, "worker-00")) >= seen + 3, PATIENT_S, "the worker's")
    # then each change stands there once, in order
    assert told(db, "worker-00")[seen:] == [
        ("RUNNING", "EXITED"), ("EXITED", "STARTING"), ("STARTING", "RUNNING"),
    ]  # fmt: skip
    assert told(db, "warden").count(("RUNNING", "EXITED")) == 1


def test_single_programs_stop_start_and_roll_by_one_verb_each(system, db):
    # when a program is stopped, then it is held until it is started
    stopped = system.verb("stop", "fragile", "-F", "json")
    assert stopped.returncode == 0, stopped.stderr
    assert '"name": "fragile-00", "did": "stopped"' in stopped.stdout
    assert holds.read(system.paths)["fragile"].until_started
    assert "start it: ./run start fragile-00" in system.verb("status").stdout
    # when it is started, then the hold is over
    started = system.verb("start", "fragile")
    assert started.stdout.startswith("fragile-00: READY"), started.stderr
    assert holds.read(system.paths) == {}
    # when a role rolls, then one is ready before the next, and the server stays
    before = system.pids()
    rolled = system.verb("restart", "--rolling", "consumers:*")
    assert rolled.returncode == 0, rolled.stderr
    names = [line.partition(":")[0] for line in rolled.stdout.splitlines()]
    assert names == ["fragile-00", "worker-00", "worker-01"]
    after = system.pids()
    assert {name for name in before if before[name] == after[name] > 0} == {
        "feeder-00",
        "redis",
        "warden",
    }
    # and supervisorctl knows the roles, too
    shown = system.verb("supervisorctl", "status", "consumers:*")
    assert [line.split()[0] for line in shown.stdout.splitlines()] == [
        "fragile:fragile-00", "greedy:greedy-01", "worker:worker-00", "worker:worker-01",
    ], shown.stderr  # fmt: skip
    # and an unknown name lists what there is
    wrong = system.verb("stop", "p34")
    assert (wrong.returncode, "worker" in wrong.stderr) == (4, True)


def test_the_doctor_finds_nothing_but_what_is_there(system, db):
    # given a healthy system without a universe, and a program that outlived its supervisord
    marks = {
        "SUPERVISOR_ENABLED": "1", "QUANTUM_HOME": str(system.paths.home),
        "QUANTUM_RUN_DIR": str(system.paths.run_dir),
    }  # fmt: skip
    stray = subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()"], env=marks, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    stray.stdout.readline()
    # when the doctor looks
    done = system.verb("doctor", "--json")
    stray.communicate(b"")
    # then it names the stray and the keys, and what to do
    report = json.loads(done.stdout)
    assert (done.returncode, report["verdict"]) == (1, "problems"), done.stderr
    problems = [one for one in report["findings"] if one["level"] == "problem"]
    assert {one["subject"] for one in problems} == {"keys", "groups", "orphans"}
    [orphan] = [one["what"] for one in problems if one["subject"] == "orphans"]
    assert f"pid {stray.pid}" in orphan
    assert all(one["cure"] for one in report["findings"])


def test_a_flood_without_redis_is_answered_at_once_and_told_later(tmp_path):
    # given a warden whose Redis is away, and 3000 events at once
    environ = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("QUANTUM_", "REDIS_"))},
        "QUANTUM_HOME": str(tmp_path), "QUANTUM_RUN_DIR": str(tmp_path / "run"),
        "REDIS_URL": f"unix://{tmp_path}/nobody",
    }  # fmt: skip
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "supervisord.pid").write_text("1\n")
    flood = b"".join(event(number) for number in range(3000))
    first = warden(environ)
    began = time.monotonic()
    first.stdin.write(flood)
    first.stdin.flush()
    answers = b"READY\n" + b"RESULT 2\nOKREADY\n" * 3000
    assert first.stdout.read(len(answers)) == answers
    assert time.monotonic() - began < 60
    # when it is killed and its successor has a server, and is told half of it again
    first.kill()
    first.communicate()
    server = Server("valkey")
    try:
        second = warden({**environ, "REDIS_URL": server.url})
        second.stdin.write(b"".join(event(number) for number in range(1500)))
        second.stdin.flush()
        db = server.connect()
        wait_until(lambda: db.xlen(streams.OPS_PROCESS.key) >= 3000, PATIENT_S, "all of it")
        second.stdin.close()
        assert second.wait(PATIENT_S) == 0
        # then each stands there once
        assert db.xlen(streams.OPS_PROCESS.key) == 3000
        second.stdout.close()
    finally:
        server.close()


def test_a_warden_whose_second_thread_is_dead_ends_itself(tmp_path):
    # given a warden that answers and does nothing else
    code = (
        "import sys; from ops.warden import __main__ as main; main.HUNG_S = 0.05;"
        "main.Worker.run = lambda self: None; sys.exit(main.main())"
    )
    environ = {"QUANTUM_HOME": str(tmp_path), "REDIS_URL": f"unix://{tmp_path}/nobody"}
    hollow = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, env=environ,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert hollow.stdout.readline() == b"READY\n"
    # when events come, then it does not go on pretending: another one is told the rest
    said, log = hollow.communicate(b"".join(event(number) for number in range(20_000)), timeout=30)
    assert hollow.returncode == 1
    assert said.count(b"RESULT") < 20_000
    assert b"rounds_hang" in log


def event(serial: int) -> bytes:
    payload = f"processname:p-{serial} groupname:p from_state:STARTING pid:1".encode()
    header = f"ver:3.0 server:q serial:{serial} pool:warden poolserial:{serial} "
    return f"{header}eventname:PROCESS_STATE_RUNNING len:{len(payload)}\n".encode() + payload


def warden(environ: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "ops.warden"], cwd=ROOT, env=environ,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
