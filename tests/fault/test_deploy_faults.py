"""What is killed, goes away or fills up in the middle of a deploy, and what the next run does."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess

import pytest

from ops.daemon import Daemon
from tests.deploy_rig import NEVER_READY, QUICK, Site
from tests.supervised import is_alive
from tests.waiting import wait_until

pytestmark = pytest.mark.whole


@pytest.fixture(scope="module")
def shared():
    with contextlib.closing(Site()) as site:
        site.start()
        site.commit("works")
        assert site.deploy().returncode == 0
        yield site


@pytest.fixture
def site(shared):
    """A system with ``worker`` deployed once; each story leaves it ready at its newest commit."""
    shared.wait_ready(30)
    return shared


def kill(running: subprocess.Popen) -> None:
    running.send_signal(signal.SIGKILL)
    running.communicate(timeout=10)


def test_killed_on_its_way_forward_and_deployed_again(site):
    # given a deploy that is killed while its first process is not ready yet
    good = site.deployed().accepted.commit
    bad = site.commit("hangs", NEVER_READY)
    running = site.begin("deploy", "worker", *QUICK, "--wait", "60")
    site.begun(lambda found: found["attempt"] and found["attempt"]["commit"] == bad)
    wait_until(lambda: bad in site.runs(), 30, "a process runs the new code")
    kill(running)
    known = len(site.entries())
    # then it says so to whoever looks, and nothing was recorded
    listed = site.verb("deploy").stdout
    assert f"{bad[:12]}  begun" in listed
    assert "unfinished: ./run deploy worker --finish" in listed
    # when the mended code is deployed
    commit = site.commit("mended")
    done = site.deploy()
    # then it takes the place of what was interrupted, goes by what had been accepted before
    assert done.returncode == 0, done.stderr
    assert f"the deploy of {bad[:12]} begun at" in done.stderr
    assert site.runs() == {commit}
    [record] = site.recorded()[-1:]
    assert f"deployed={commit} before={good}" in record["notes"]
    assert f"takes the place of an interrupted deploy of {bad[:12]}" in record["notes"]
    assert len(site.entries()) == known + 1
    assert "unfinished" not in site.verb("deploy").stdout


def test_killed_on_its_way_forward_and_finished(site):
    good = site.deployed().accepted.commit
    bad = site.commit("hangs", NEVER_READY)
    running = site.begin("deploy", "worker", *QUICK, "--wait", "60")
    wait_until(lambda: bad in site.runs(), 30, "a process runs the new code")
    kill(running)
    # when somebody only wants the matter brought to its end
    done = site.deploy("worker", "--finish")
    # then what ran before is back, and both are recorded
    assert done.returncode == 3, done.stdout + done.stderr
    assert site.runs() == {good}
    failed, back = site.recorded()[-2:]
    assert (failed["outcome"], back["outcome"]) == ("PARTIAL", "ROLLBACK")
    assert back["rollback_of"] == failed["operation_id"]
    # and there is nothing left to finish
    assert site.deploy("worker", "--finish").returncode == 0
    assert site.recorded()[-1] == back


def test_killed_while_going_back(site):
    good = site.deployed().accepted.commit
    bad = site.commit("hangs", NEVER_READY)
    running = site.begin("deploy", "worker", *QUICK, "--wait", "2")
    site.begun(lambda found: (found["attempt"] or {}).get("failed"))
    kill(running)
    # when the mended code is deployed
    commit = site.commit("mended")
    done = site.deploy()
    # then the rollback was finished and recorded first
    assert done.returncode == 0, done.stderr
    assert f"the rollback of {bad[:12]} was interrupted" in done.stderr
    outcomes = [record["outcome"] for record in site.recorded()[-3:]]
    assert outcomes == ["PARTIAL", "ROLLBACK", "SUCCESS"]
    assert site.recorded()[-2]["rollback_of"] == site.recorded()[-3]["operation_id"]
    assert f"deployed={commit} before={good}" in site.recorded()[-1]["notes"]
    assert site.runs() == {commit}


def test_killed_after_the_event_was_published(site):
    # given a ledger that is away, and a deploy that is killed while it waits for it
    daemon = Daemon(site.paths.supervisor_socket)
    ledger = next(p for p in daemon.processes() if p.program == "ledger")
    daemon.stop(ledger)
    daemon.wait_stopped([ledger], lambda: None)
    known, recorded = len(site.entries()), len(site.recorded())
    commit = site.commit("told once")
    running = site.begin("deploy", "worker", *QUICK, "--ledger_wait", "60")
    wait_until(lambda: len(site.entries()) == known + 1, 30, "the event is published")
    kill(running)
    # when the server has forgotten the event's id meanwhile (it remembers for a day)
    db = site.connect()
    for key in db.scan_iter(b"quantum:ops:published:deploy.completed:*"):
        db.delete(key)
    # then finishing tells it not again
    daemon.start(ledger)
    assert site.deploy("worker", "--finish").returncode == 0
    wait_until(lambda: len(site.recorded()) == recorded + 1, 15, "it is recorded")
    assert len(site.entries()) == known + 1
    assert site.deployed().accepted.commit == commit
    assert site.runs() == {commit}


SIGNALS = [signal.SIGHUP]
if os.environ.get("QUANTUM_FAULTS") == "full":
    SIGNALS += [signal.SIGINT, signal.SIGTERM]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_on_its_way_forward_takes_it_back(site, number):
    good = site.deployed().accepted.commit
    bad = site.commit("hangs", NEVER_READY)
    running = site.begin("deploy", "worker", *QUICK, "--wait", "60")
    wait_until(lambda: bad in site.runs(), 30, "a process runs the new code")
    running.send_signal(number)
    text = running.communicate(timeout=60)[0]
    assert running.returncode == 3, text
    assert f"interrupted by {number.name}" in text
    assert site.runs() == {good}
    assert site.recorded()[-1]["outcome"] == "ROLLBACK"


def test_the_server_goes_away_and_comes_back_later(site):
    # given a server that goes away after the first restart
    good = site.deployed().accepted.commit
    bad = site.commit("hangs", NEVER_READY)
    known = len(site.recorded())
    daemon = Daemon(site.paths.supervisor_socket)
    server = next(p for p in daemon.processes() if p.name == "redis")
    running = site.begin("deploy", "worker", *QUICK, "--wait", "3")
    wait_until(lambda: bad in site.runs(), 30, "a process runs the new code")
    daemon.stop(server)
    text = running.communicate(timeout=90)[0]
    # then the old code is back; that it is ready cannot be said, nor can it be recorded
    assert running.returncode == 5, text
    assert site.runs() == {good}
    assert "--finish" in text
    assert len(site.deployed().outbox) == 2
    refused = site.deploy()
    assert refused.returncode == 69
    # when the server is there again
    daemon.start(server)
    site.wait_ready(30)
    done = site.deploy("worker", "--finish")
    # then both are told, once, in order
    assert done.returncode == 0, done.stderr
    failed, back = site.recorded()[known:]
    assert (failed["outcome"], back["outcome"]) == ("PARTIAL", "ROLLBACK")
    assert back["rollback_of"] == failed["operation_id"]
    assert site.deployed().outbox == ()


def test_a_full_disk_keeps_the_deploy_from_beginning(site):
    # given files that may not grow any more
    before = site.pids()
    site.commit("no room")
    done = subprocess.run(
        ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh", *deploy_command()],
        cwd=site.tree, env=site.environ, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    # then nothing was changed
    assert done.returncode == 1, done.stdout + done.stderr
    assert site.pids() == before
    assert site.deployed().attempt is None
    assert not list(site.paths.releases.glob(".*.new"))


def deploy_command() -> list[str]:
    import sys

    return [sys.executable, "-m", "ops", "deploy", "worker", *QUICK]


def test_a_state_file_that_cannot_be_read_is_no_guess(site):
    path = site.paths.deploys / "worker.json"
    kept = path.read_bytes()
    before = site.pids()
    for content in (b"", b"{", b'{"program": "other", "v": 1}', kept[: len(kept) // 2]):
        path.write_bytes(content)
        done = site.deploy()
        assert done.returncode == 1
        assert "worker.json" in done.stderr
    assert site.pids() == before
    path.write_bytes(kept)


def test_supervisord_goes_away_in_the_middle():
    site = Site()
    try:
        site.start()
        good = site.commit("works")
        assert site.deploy().returncode == 0
        bad = site.commit("hangs", NEVER_READY)
        running = site.begin("deploy", "worker", *QUICK, "--wait", "60")
        wait_until(lambda: bad in site.runs(), 30, "a process runs the new code")
        # when supervisord is killed, and all programs with it
        pid = site.supervisord()
        os.kill(pid, signal.SIGKILL)
        text = running.communicate(timeout=90)[0]
        # then the deploy ends, and says what to do
        assert running.returncode == 5, text
        assert "./run" in text
        wait_until(lambda: not is_alive(pid), 10)
        # and the next start brings up what had worked, and finishing tells of it all
        site.start()
        assert site.runs() == {good}
        done = site.deploy("worker", "--finish")
        assert done.returncode == 0, done.stderr
        assert [one["outcome"] for one in site.recorded()[-2:]] == ["PARTIAL", "ROLLBACK"]
        refused = site.verb("stop")
        assert refused.returncode == 0
        done = site.deploy()
        assert done.returncode == 1
        assert "start it: ./run" in done.stderr
    finally:
        site.close()
