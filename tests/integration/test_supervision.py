"""Stories of an operator: start, look, stop, as typed at a terminal."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import sys
import threading
from pathlib import Path

import pytest

from ops import running
from tests.supervised import System, free_port, is_alive, slow_server
from tests.waiting import wait_until


@pytest.fixture
def system():
    system = System().with_stand_ins()
    yield system
    system.close()


@pytest.fixture(scope="module")
def shared():
    """One running system for the stories that leave it as they found it."""
    system = System().with_stand_ins()
    system.start()
    yield system
    system.close()


@pytest.fixture
def up(shared):
    """The shared system, ready."""
    shared.wait_ready()
    shared.connect().delete("drained")
    return shared


def test_a_newcomer_starts_looks_and_stops(system):
    # given a checkout in which nothing runs
    assert system.verb("status").returncode == 3
    assert system.verb("stop").stdout.strip() == "not running"
    # when it is started
    started = system.start()
    # then it says where to look, and what it said works
    assert f"redis-cli -e -p {system.port}" in started.stdout
    assert "./run status" in started.stdout
    status = system.status()
    assert status["ready"] is True
    assert {(p["name"], p["ready"]) for p in status["processes"]} == {
        ("redis", "READY"),
        ("feeder-00", "READY"),
        ("worker-00", "READY"),
        ("worker-01", "READY"),
    }
    assert status["server"]["version"].startswith("valkey 9.1")
    with socket.create_connection(("127.0.0.1", system.port), 5) as client:
        client.sendall(b"PING\r\n")
        assert client.recv(16) == b"+PONG\r\n"
    table = system.verb("status")
    assert table.returncode == 0
    assert "all ready" in table.stdout
    # and what other users could read or enter is closed to them
    for path in (system.paths.supervisor_socket, system.paths.redis_socket, system.paths.data):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert stat.S_IMODE(system.paths.current_env.stat().st_mode) == 0o600
    # when it is stopped
    stopped = system.verb("stop")
    # then nothing is left, not even the note that says it runs
    assert stopped.returncode == 0, stopped.stderr
    assert not system.paths.current_env.exists()
    assert system.verb("stop").stdout.strip() == "not running"


def test_a_second_start_finds_the_first(system):
    # given two starts at the same moment
    first, second = system.begin("start"), system.begin("start")
    said = [process.communicate(timeout=60)[0] for process in (first, second)]
    # then both are content, and only one of them started anything
    assert (first.returncode, second.returncode) == (0, 0), said
    assert sorted("already running" in text for text in said) == [False, True]
    before = system.pids()
    # when it is started a third time, with another port
    third = system.verb("start", REDIS_PORT=str(free_port()))
    # then nothing changes, and the difference is named
    assert third.returncode == 0
    assert "./run restart" in third.stdout
    assert system.pids() == before


def test_consumers_drain_before_the_server_stops(system):
    # given programs that still write while they drain
    system.start(DRAIN_S="1.0")
    data = system.paths.data
    # when everything is stopped
    assert system.verb("stop").returncode == 0
    # then all writes were accepted: they stand in the files of a server that stopped last
    drained = system.drained()
    assert sorted(drained) == ["feeder-00", "worker-00", "worker-01"]
    # and the workers, which are stopped first, were written before the feeder
    assert drained[2] == "feeder-00"
    assert (data / "WRITTEN_BY").read_text().startswith("valkey 9.")


def test_sigterm_to_supervisord_alone_keeps_that_order(system):
    # given what systemd does at shutdown
    system.start(DRAIN_S="1.0")
    pid = system.supervisord()
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not is_alive(pid), 30, "supervisord ends")
    # then the drained programs had a server to the end
    assert len(system.drained()) == 3


def test_foreground_shows_logs_and_control_c_drains(system):
    # given ./run -f
    shown = []
    process = system.begin("start", "-f", DRAIN_S="1.0")
    reader = threading.Thread(target=lambda: shown.extend(process.stdout))
    reader.start()
    wait_until(lambda: any("quantum ops is up" in line for line in shown), 30, "the banner")
    # then lines stand under the names of their programs
    wait_until(lambda: any(line.startswith("redis ") for line in shown), 10, "server lines")
    # when ^C is typed
    process.send_signal(signal.SIGINT)
    reader.join(40)
    # then it ends well, drained and in order
    assert process.wait(10) == 0
    assert any("stopped in order" in line for line in shown), shown
    process.stdout.close()
    assert len(system.drained()) == 3


def test_foreground_ends_when_it_is_stopped_from_elsewhere(system):
    process = system.begin("start", "-f")
    system.wait_ready(30)
    assert system.verb("stop").returncode == 0
    text = process.communicate(timeout=20)[0]
    assert process.returncode == 0, text


def test_programs_wait_inside_for_a_late_server(system):
    # given a server that comes up six seconds late
    server = slow_server(system.folder, 6)
    start = system.begin("start", QUANTUM_REDIS_SERVER=str(server))
    wait_until(lambda: len(system.pids()) == 4 and all(system.pids().values()), 15, "all spawned")
    early = system.pids()
    # when it has come up
    text = start.communicate(timeout=40)[0]
    # then start had waited for it, and nobody was restarted meanwhile
    assert start.returncode == 0, text
    assert system.pids() == early
    log = (system.paths.log / "worker-00.log").read_text()
    assert "waiting:" in log


def test_exit_78_stays_down_and_is_told(system):
    # given a program that refuses its settings
    system.add("refuses", "consumers")
    started = system.verb("start")
    # then start names it with its own words, and does not sit out its patience
    assert started.returncode == 3
    assert "refuses-00: EXITED DOWN, exit 78" in started.stderr
    assert "REFUSES=yes (environment): write no" in started.stderr
    # and it ran once: supervisord has left it alone
    log = (system.paths.log / "supervisord.log").read_text()
    assert log.count("spawned: 'refuses-00'") == 1
    assert log.count("exit status 78; expected") == 1


def test_a_stray_sigterm_does_not_silence_a_consumer(up):
    # given that somebody ends a worker by hand: it drains and exits 0
    old = up.pids()["worker-00"]
    os.kill(old, signal.SIGTERM)
    # then it is started again, because nobody asked supervisord for its end
    wait_until(lambda: up.pids()["worker-00"] not in (0, old), 15, "a new worker")
    up.wait_ready()


def test_a_taken_port_is_refused_before_anything_is_spawned(system):
    with socket.socket() as squatter:
        # given a program on our port
        squatter.bind(("127.0.0.1", system.port))
        squatter.listen()
        # when we start
        started = system.verb("start")
    # then both ways out are ready to be typed, and nothing was begun
    assert started.returncode == 1
    assert f"REDIS_URL=redis://127.0.0.1:{system.port} ./run" in started.stderr
    assert f"REDIS_PORT={system.port + 1} ./run" in started.stderr
    assert not system.paths.current_env.exists()
    assert system.verb("status").returncode == 3


def test_all_wrong_settings_are_told_before_anything_is_spawned(system):
    started = system.verb("start", UNIVERSE_MODE="tesnet", QUANTUM_BATCH="lots")
    assert started.returncode == 78
    assert "UNIVERSE_MODE='tesnet'" in started.stderr
    assert "QUANTUM_BATCH='lots'" in started.stderr
    assert not system.paths.supervisor_socket.exists()
    # and a restart with them does not stop what runs
    system.start()
    before = system.pids()
    assert system.verb("restart", QUANTUM_BATCH="lots").returncode == 78
    assert system.pids() == before


def test_another_server_is_used_and_never_started(system, valkey):
    # given a server of the operator's own
    started = system.start(REDIS_URL=valkey.url)
    assert "yours at" in started.stdout
    # then status in a shell without that variable finds it, and there is none of ours
    status = system.status()
    assert status["ready"] is True
    assert status["server"]["owned"] is False
    assert "redis" not in {process["name"] for process in status["processes"]}
    assert not system.paths.data.exists()
    # and a stop leaves it alone
    assert system.verb("stop").returncode == 0
    assert valkey.connect().ping()


def test_a_wrong_password_is_told_before_anything_is_spawned(system, valkey):
    url = f"unix://someone:hunter2@{valkey.socket}"
    started = system.verb("start", REDIS_URL=url)
    assert started.returncode == 78
    assert "hunter2" not in started.stdout + started.stderr
    assert not system.paths.supervisor_socket.exists()


def test_the_demo_never_starts_beside_the_live_system(up):
    before = up.pids()
    refused = up.verb("start", "--profile", "demo")
    assert refused.returncode == 1
    assert "the live system is running" in refused.stderr
    assert up.pids() == before


def test_the_live_system_never_starts_beside_the_demo_nor_on_its_data(system):
    # given a running demo
    demo = system.verb("start", "--profile", "demo")
    assert demo.returncode == 0, demo.stderr
    # then neither a start nor a restart turns it into the live system
    assert "the demo system is running" in system.verb("start").stderr
    assert system.verb("restart").returncode == 1
    # and its data lie apart
    assert (system.home / "demo" / "data" / "appendonlydir").exists()
    assert not system.paths.data.exists()


def test_a_home_too_long_for_sockets_gets_a_short_run_folder(system):
    # given a home whose socket paths would not fit
    home = system.folder / ("long-" * 20) / "with space"
    system.environ["QUANTUM_HOME"] = str(home)
    # when it is started
    system.start()
    # then the sockets lie in a private folder elsewhere, and every verb finds them
    run_dir = system.paths.run_dir
    assert len(str(run_dir)) < 60
    assert stat.S_IMODE(run_dir.stat().st_mode) == 0o700
    current = running.read(home / "run" / "current.env")
    assert current.run_dir == run_dir
    assert system.status()["ready"] is True
    assert (home / "data" / "appendonlydir").exists()
    assert system.verb("supervisorctl", "status").returncode == 0


def test_one_program_is_restarted_alone_and_ready_before_the_next(up):
    before = up.pids()
    # when the consumers are restarted by their role
    done = up.verb("restart", "consumers")
    assert done.returncode == 0, done.stderr
    # then each drained, and the others were not touched
    after = up.pids()
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["worker-00", "worker-01"]
    assert {name for name in before if before[name] != after[name]} == {"worker-00", "worker-01"}
    assert up.connect().llen("drained") == 2
    # and a name that means nothing is told apart from a failure
    unknown = up.verb("restart", "wroker")
    assert unknown.returncode == 4
    assert "worker" in unknown.stderr


def test_logs_name_their_programs_and_follow_rotation(up):
    # given the last lines of one program
    shown = up.verb("logs", "-n", "3", "redis")
    assert shown.returncode == 0
    assert all(line.startswith("redis | ") for line in shown.stdout.splitlines())
    assert len(shown.stdout.splitlines()) == 3
    assert up.verb("logs", "nobody").returncode == 4
    # when a log is followed, rotated and written on, with escapes in it
    log = up.paths.log / "handmade.log"
    log.write_bytes(b"before\n")
    follow = up.begin("logs", "-f", "-n", "1", "handmade")
    lines = []
    reader = threading.Thread(target=lambda: lines.extend(follow.stdout))
    reader.start()
    try:
        wait_until(lambda: any("before" in line for line in lines), 10, "the last line")
        with log.open("ab") as file:
            file.write(b"half ")
            file.flush()
            log.rename(log.with_suffix(".log.1"))
            file.write(b"and half\n")
        log.write_bytes(b"\x1b[31mafter\xff\n")
        wait_until(lambda: any("after" in line for line in lines), 10, "the new file")
    finally:
        follow.terminate()
        follow.wait(10)
        reader.join(10)
        follow.stdout.close()
    assert [line.strip() for line in lines] == [
        "handmade | before",
        "handmade | half and half",
        "handmade | \\x1b[31mafter\\xff",
    ]


def test_status_believes_heartbeats_and_not_supervisord(up):
    # given a worker that is RUNNING but stands still
    pid = up.pids()["worker-01"]
    os.kill(pid, signal.SIGSTOP)
    try:
        key = "quantum:ops:heartbeat:worker:1"
        up.connect().hset(key, "updated_ms", "1")
        # then status says so, and exits 3
        status = up.verb("status", "--json")
        assert status.returncode == 3
        worker = next(p for p in json.loads(status.stdout)["processes"] if p["name"] == "worker-01")
        assert (worker["state"], worker["ready"]) == ("RUNNING", "STALE")
    finally:
        os.kill(pid, signal.SIGCONT)
    up.wait_ready()


def test_supervisorctl_finds_this_system(up):
    listed = up.verb("supervisorctl", "status")
    assert listed.returncode == 0
    assert "worker:worker-01" in listed.stdout
    # and a new stanza is all that a new program needs
    before = up.pids()
    up.add("late", "consumers")
    up.verb("supervisorctl", "update")
    wait_until(lambda: "late-00" in up.pids(), 10, "the new program")
    after = up.pids()
    assert {name: after[name] for name in before} == before
    up.wait_ready()


def test_programs_run_on_the_interpreter_of_the_verb(up):
    # given a running program
    folder = Path(f"/proc/{up.pids()['worker-00']}")
    # then it has our interpreter, and not one of the PATH that lacks the packages
    assert (folder / "cmdline").read_bytes().split(b"\0")[0] == os.fsencode(sys.executable)
    # and the environment that the configuration promises
    environ = set((folder / "environ").read_bytes().split(b"\0"))
    assert {b"PYTHONUNBUFFERED=1", b"MALLOC_ARENA_MAX=2"} <= environ
