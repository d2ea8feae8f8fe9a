"""kill -9 of each part of the running system, judged from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from ops import data_folder
from tests.supervised import System, is_alive
from tests.waiting import wait_until

pytestmark = pytest.mark.whole

STUBBORN = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
while True:
    time.sleep(0.1)
"""


@pytest.fixture
def system():
    system = System().with_stand_ins()
    yield system
    system.close()


def test_kill_9_of_the_server_costs_nothing_but_a_moment(system):
    # given acknowledged writes
    system.start()
    before = system.pids()
    db = system.connect()
    for number in range(200):
        db.xadd("quantum:stream:test", {"n": number})
    # when the server is killed
    os.kill(before["redis"], signal.SIGKILL)
    # then it comes back by itself with everything acknowledged
    wait_until(lambda: system.pids()["redis"] not in (0, before["redis"]), 20, "a new server")
    system.wait_ready()
    assert system.connect().xlen("quantum:stream:test") == 200
    # and the programs waited inside: the same pids carry on
    after = system.pids()
    assert {name: pid for name, pid in after.items() if name != "redis"} == {
        name: pid for name, pid in before.items() if name != "redis"
    }


def test_kill_9_of_supervisord_leaves_no_pair_behind(system):
    # given a running system that is writing
    system.start()
    before = system.pids()
    system.connect().set("kept", "yes")
    # when supervisord is killed and the system is started again at once
    os.kill(system.supervisord(), signal.SIGKILL)
    system.start()
    after = system.pids()
    # then no process of the old set lives, so no name and no file is shared by two
    assert [pid for pid in before.values() if is_alive(pid)] == []
    assert set(before.values()).isdisjoint(after.values())
    assert data_folder.holder(system.paths.data) == after["redis"]
    assert system.connect().get("kept") == b"yes"
    assert system.connect().info("server")["process_id"] == after["redis"]


def test_kill_9_of_supervisord_then_stop_clears_up_and_says_so(system):
    # given a program that is deaf to SIGTERM, so that the kernel's own signal cannot end it
    (system.tree / "consumers" / "__main__.py").write_text(STUBBORN)
    (system.tree / "supervisor" / "conf.d" / "feeder.conf").unlink()
    started = system.begin("start", "--wait", "1")
    started.communicate(timeout=30)
    wait_until(lambda: all(system.pids().values()), 15, "spawned")
    before = system.pids()
    os.kill(system.supervisord(), signal.SIGKILL)
    # when the operator stops, with less patience than production has
    code = (
        "import sys; from ops import leftovers; leftovers.DRAIN_S = 1.0; "
        "import argparse; from ops.verbs import stop; sys.exit(stop.run(argparse.Namespace()))"
    )
    stopped = subprocess.run(
        [sys.executable, "-c", code],
        cwd=system.tree, env=system.environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    # then they are named and gone, deaf or not
    assert stopped.returncode == 0, stopped.stderr
    assert "left behind" in stopped.stderr
    assert str(before["worker-00"]) in stopped.stderr
    assert [pid for pid in before.values() if is_alive(pid)] == []
    assert not system.paths.current_env.exists()


def test_a_supervisord_that_lost_its_socket_is_found_and_ended_in_order(system):
    # given that something has cleaned up the socket
    system.start(DRAIN_S="1.0")
    pid, before = system.supervisord(), system.pids()
    system.paths.supervisor_socket.unlink()
    # when the system is started again
    again = system.verb("start")
    # then the old one was asked to end, not fought: its programs had drained with a server
    assert again.returncode == 0, again.stderr
    assert f"supervisord {pid}" in again.stderr
    assert [old for old in [pid, *before.values()] if is_alive(old)] == []
    assert system.connect().llen("drained") == 3


def test_a_supervisord_that_stands_still_is_told_apart_from_none(system):
    # given a supervisord under a debugger, say
    system.start()
    pid = system.supervisord()
    os.kill(pid, signal.SIGSTOP)
    try:
        started = system.verb("start")
    finally:
        os.kill(pid, signal.SIGCONT)
    # then nobody starts a second system beside it
    assert started.returncode == 1
    assert "does not answer" in started.stderr
    system.wait_ready()


def test_kill_9_of_start_itself_is_mended_by_the_next(system):
    # given a start that dies as soon as supervisord is there
    dying = system.begin("start")
    wait_until(system.paths.supervisor_socket.exists, 20, "supervisord is there")
    dying.kill()
    dying.communicate(timeout=10)
    system.paths.current_env.unlink()
    # when it is typed again
    again = system.verb("start")
    # then the running system is found, and its description is whole again
    assert again.returncode == 0
    assert "already running" in again.stdout
    assert system.paths.current_env.exists()
    system.wait_ready()


def test_two_servers_never_share_a_data_folder(system):
    # given a running system
    system.start()
    before = system.pids()["redis"]
    # when somebody starts a server by hand on the same folder, on another port
    code = "from ops import server; server.PREDECESSOR_S = 0.3; server.become_server()"
    second = subprocess.run(
        [sys.executable, "-c", code],
        cwd=system.tree, env={**system.environ, "REDIS_PORT": "1"},
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    # then it refuses, and names the one that is there
    assert second.returncode != 0
    assert f"pid {before}" in second.stderr
    assert system.connect().ping()
    assert system.pids()["redis"] == before


def test_data_of_a_newer_server_are_refused_and_not_taken_for_empty(system):
    # given files that our server cannot read
    system.paths.create()
    system.paths.data.mkdir()
    (system.paths.data / "WRITTEN_BY").write_text("valkey 99.0.0\n")
    (system.paths.data / "appendonlydir").mkdir()
    # when the system is started
    started = system.verb("start", "--wait", "6")
    # then the server stays down with the cure, and nothing was written over
    assert started.returncode == 3
    assert "was written by valkey 99.0.0" in started.stderr
    assert "exit 78" in started.stderr
    assert (system.paths.data / "WRITTEN_BY").read_text() == "valkey 99.0.0\n"
    assert list((system.paths.data / "appendonlydir").iterdir()) == []
    log = (system.paths.log / "supervisord.log").read_text()
    assert log.count("spawned: 'redis'") == 1
