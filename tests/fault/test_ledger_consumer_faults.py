"""The ledger's consumer killed, held up and replaced: each deploy is in the journal once."""

from __future__ import annotations

import collections
import contextlib
import fcntl
import multiprocessing
import os
import random
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from quantum_ops import streams
from quantum_ops.errors import Hold
from quantum_ops.ledger import ids
from quantum_ops.ledger.journal import Journal
from quantum_ops.signoff import keeper
from quantum_ops.testing import FrozenClock
from tests.fault import ledger_consumer_process as child
from tests.proxy import Proxy, now_and_then
from tests.servers import FLAVOURS, Server
from tests.signoff_rig import SOURCE, SignoffRig
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
APPEND = ROOT / "ops" / "ops_ledger_append.py"
FULL = os.environ.get("QUANTUM_FAULTS") == "full"
KILLS, CLI_KILLS = (400, 100) if FULL else (16, 4)
FORKS = multiprocessing.get_context("forkserver")


# The promises of the protocol are kept on both servers by tests/integration; here the ledger is
# struck, and the second flavour waits for the full run.
@pytest.fixture(params=FLAVOURS if FULL else FLAVOURS[:1])
def server(request, _servers):
    if request.param not in _servers:
        _servers[request.param] = Server(request.param)
    _servers[request.param].connect().flushall()
    return _servers[request.param]


@pytest.fixture
def rig(server, tmp_path):
    return SignoffRig(server, tmp_path / "ledger")


@pytest.fixture
def start(server, rig):
    """Starts a consumer process, number NUM of its program; all are ended after the story."""
    FORKS.set_forkserver_preload(["tests.fault.ledger_consumer_process"])
    started = []

    def begin(number=0, **environ):
        process = FORKS.Process(
            target=child.run, args=({**environment(server.url, rig, number), **environ},)
        )
        process.start()
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.is_alive():
            process.kill()
        process.join(10)


def environment(url, rig, number=0):
    return {
        "PATH": os.environ["PATH"],
        "REDIS_URL": url,
        "QUANTUM_ENV_DIR": "/nonexistent",
        "QUANTUM_BLOCK_MS": "50",
        "LEDGER_DIR": str(rig.folder.base),
        "SUPERVISOR_PROCESS_NAME": f"ledger-{number:02d}",
    }


def recorded(rig):
    """How many lines the journal has."""
    return sum(1 for _ in Journal(rig.folder).lines())


def settled(rig, count):
    return recorded(rig) >= count and rig.pending() == 0 and read_all(rig)


def read_all(rig):
    [group] = rig.db.xinfo_groups(SOURCE)
    last = rig.db.xrevrange(SOURCE, count=1)
    return group["last-delivered-id"] == last[0][0]


def beat(rig, number=0):
    found = rig.db.hgetall(streams.heartbeat("ledger", number))
    return {name.decode(): value.decode() for name, value in found.items()}


def once(rig, sent):
    """Each of these entries is one record, whatever else there is; ids have no gaps."""
    sources = collections.Counter(
        one["source"]["stream_id"] for one in rig.records() if one["source"]["stream"] == SOURCE
    )
    assert sources == dict.fromkeys(sent, 1)
    numbers = collections.defaultdict(list)
    for one in rig.ids():
        numbers[one[4:14]].append(ids.parse(one).number)
    for found in numbers.values():
        assert found == list(range(1, len(found) + 1))
    assert rig.letters() == []
    rig.holds()


@pytest.mark.slow
@pytest.mark.timeout(3000 if FULL else 240)
def test_killed_consumers_and_command_lines_record_everything_once(rig, start):
    chance = random.Random(20261125)
    sent, acknowledged = [], set()
    processes = [start(0), start(1)]
    for turn in range(KILLS):
        before = recorded(rig)
        sent += [rig.send(operation=f"{turn}-{at}") for at in range(chance.randrange(1, 30))]
        # Most are killed at work, some before they did anything
        if chance.random() < 0.8 or turn % 5 == 0:
            wait_until(lambda n=before: recorded(rig) > n, 60, "work is going on")
        time.sleep(chance.random() * 0.05)  # this is the random point, nothing waits for it
        if turn % (KILLS // CLI_KILLS) == 0:
            acknowledged |= killed_command_line(rig, chance)
        # Which of the two is at work is not known: both are struck
        number = chance.randrange(2)
        processes[number].kill()
        processes[number].join()
        processes[number] = start(number)
    wait_until(lambda: settled(rig, len(sent)), 60, "everything is recorded")
    wait_until(lambda: len(rig.told()) == recorded(rig), 30, "and told of")
    once(rig, sent)
    assert acknowledged <= set(rig.ids())


def killed_command_line(rig, chance):
    """The id that a killed run of the tool had said to be recorded, if it got so far."""
    one = subprocess.Popen(
        [sys.executable, "-I", "-S", APPEND, "--operation", "by hand", "--objective", "o",
         "--risk_class", "READ_ONLY", "--blast_radius", "b", "--changes_summary", "c"],
        env={"PATH": os.environ["PATH"], "LEDGER_DIR": str(rig.folder.base)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    select.select([one.stdout], [], [], chance.random() * 0.3)
    one.kill()
    said = one.communicate()[0]
    return {line.split()[3] for line in said.splitlines() if line.startswith("Ledger entry rec")}


def test_of_two_processes_one_works_and_the_other_takes_over_what_it_left(rig, start):
    first = start(0)
    wait_until(lambda: beat(rig).get("state") == "ready", 30, "the first is at work")
    second = start(1)
    wait_until(lambda: beat(rig, 1).get("state") == "standby", 30, "the second stands by")
    assert f"process {first.pid} on " in beat(rig, 1)["detail"]
    sent = [rig.send(operation=f"a{at}") for at in range(20)]
    wait_until(lambda: settled(rig, 20), 20, "recorded")
    # The first is stopped with entries in its hands, and then dies
    os.kill(first.pid, signal.SIGSTOP)
    taken = [rig.send(operation=f"b{at}") for at in range(20)]
    rig.db.execute_command(
        "XREADGROUP", "GROUP", "ledger", name_of(rig, 0), "COUNT", 20, "STREAMS", SOURCE, ">"
    )
    first.kill()
    wait_until(lambda: settled(rig, 40), 20, "the second took over")
    wait_until(lambda: beat(rig, 1).get("state") == "ready", 20, "and says so")
    assert beat(rig, 1)["detail"] == ""
    assert second.is_alive()
    once(rig, sent + taken)


def name_of(rig, number):
    [name] = [
        one["name"] for one in rig.db.xinfo_consumers(SOURCE, "ledger")
        if one["name"].endswith(b":%d" % number)
    ]  # fmt: skip
    return name


def test_a_disk_that_is_full_for_long_buries_nothing_and_goes_on_when_there_is_room(rig, start):
    rig.send(operation="before")
    process = start(0)
    wait_until(lambda: settled(rig, 1), 30, "recorded")
    # Given files that may not grow
    size = rig.folder.segments()[-1].stat().st_size
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    sent = [rig.send(operation=f"while full {at}") for at in range(3)]
    wait_until(lambda: beat(rig).get("state") == "waiting", 20, "it waits")
    assert "File too large" in beat(rig)["detail"]
    assert "events wait in their stream" in beat(rig)["detail"]
    # And restarted again and again meanwhile, more often than an entry may be delivered
    for _ in range(25 if FULL else 3):
        process.kill()
        process.join()
        process = start(0, FSIZE=str(size))
        mine = str(process.pid)
        wait_until(lambda pid=mine: beat(rig).get("pid") == pid, 30, "the next one is up")
        wait_until(lambda: beat(rig)["state"] == "waiting", 30, "and waits, too")
    deliveries = [
        one["times_delivered"] for one in rig.db.xpending_range(SOURCE, "ledger", "-", "+", 9)
    ]
    assert max(deliveries) == 1
    wait_until(lambda: "consumer_held_up" in rig.found(), 20, "somebody is called")
    assert rig.findings()[0].severity == "critical"
    # When there is room
    no_limit = resource.RLIM_INFINITY
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (no_limit, no_limit))
    wait_until(lambda: settled(rig, 4), 20, "everything is recorded")
    wait_until(lambda: beat(rig).get("state") == "ready", 20, "it is ready")
    wait_until(lambda: "consumer_goes_on" in rig.found(), 20, "and tells that it is over")
    assert [one["operation_name"] for one in rig.operations()][1:] == [
        f"while full {at}" for at in range(3)
    ]
    assert len(sent) == 3
    assert rig.letters() == []
    rig.holds()


def test_a_damaged_journal_holds_everything_until_it_is_mended(rig, start):
    rig.send(operation="a")
    rig.send(operation="b")
    rig.settle()
    segment = rig.folder.segments()[-1]
    whole = segment.read_bytes()
    segment.write_bytes(whole[: whole.index(b"\n") + 1])
    process = start(0)
    rig.send(operation="c")
    wait_until(lambda: beat(rig).get("state") == "waiting", 30, "it waits")
    assert "lines were cut off or rewritten" in beat(rig)["detail"]
    assert recorded(rig) == 1
    segment.write_bytes(whole)
    wait_until(lambda: settled(rig, 3), 30, "everything is recorded")
    process.terminate()
    process.join(20)
    assert process.exitcode == 0
    assert [one["operation_name"] for one in rig.operations()] == ["a", "b", "c"]
    assert rig.letters() == []
    rig.holds()


def test_it_stops_at_once_while_it_is_held_up_and_keeps_what_it_has(rig, start):
    process = start(0)
    wait_until(lambda: beat(rig).get("state") == "ready", 30, "at work")
    with Journal(rig.folder).locked():
        rig.send(operation="a")
        wait_until(lambda: beat(rig).get("state") == "waiting", 30, "the lock is held")
        assert "another process has held it" in beat(rig)["detail"]
        process.terminate()
        process.join(20)
        assert process.exitcode == 0
        assert rig.pending() == 1
    start(0)
    wait_until(lambda: settled(rig, 1), 30, "the next one records it")
    assert rig.letters() == []
    rig.holds()


def test_a_folder_that_another_system_keeps_is_no_standby(rig, start):
    """Two servers, one folder: whoever is second must not wait in silence for ever."""
    process = start(0)
    wait_until(lambda: beat(rig).get("state") == "ready", 30, "at work")
    clock = FrozenClock()
    mine = keeper.Keeper(rig.folder, clock, print)
    with pytest.raises(Hold, match=f"process {process.pid} on .* keeps the ledger") as held:
        mine.take_turn(rig.db)
    assert held.value.standby
    # Seen from a server where nobody of that name beats
    rig.db.delete(streams.heartbeat("ledger", 0))
    process.terminate()
    process.join(20)
    with taken(rig.folder):
        for _ in range(2):
            clock.wait(keeper.TTL_S + 1)
            with pytest.raises(Hold) as held:
                mine.take_turn(rig.db)
        assert not held.value.standby
        assert "give each system a folder of its own with LEDGER_DIR" in held.value.reason
    assert mine.take_turn(rig.db)
    mine.close()


@contextlib.contextmanager
def taken(folder):
    """The keeper's lock in the hands of a stranger."""
    with folder.keeper.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_a_folder_that_is_exchanged_under_it_is_locked_anew(rig, start, tmp_path):
    start(0)
    rig.send(operation="a")
    wait_until(lambda: settled(rig, 1), 30, "recorded")
    shutil.move(rig.folder.base, tmp_path / "moved")
    rig.send(operation="b")
    wait_until(lambda: recorded(rig) == 1 and rig.pending() == 0, 30, "recorded in the new one")
    assert [one["operation_name"] for one in rig.operations()] == ["b"]
    wait_until(lambda: "ledger_history_differs" in rig.found(), 20, "it is told of")
    assert rig.folder.keeper.read_text() != ""


def test_lost_replies_double_nothing(rig, start, server):
    # Given a line that loses five replies of a hundred
    proxy = Proxy(server.socket, now_and_then(0.05, seed=5))
    try:
        start(0, REDIS_URL=proxy.url)
        sent = []
        for turn in range(30 if FULL else 6):
            sent += [rig.send(operation=f"{turn}-{at}") for at in range(10)]
            wait_until(lambda: settled(rig, len(sent)), 60, "recorded")
        wait_until(lambda: len(rig.told()) == recorded(rig), 60, "and told of")
        assert proxy.dropped > 0
        once(rig, sent)
    finally:
        proxy.close()


@pytest.mark.parametrize("flavour", FLAVOURS if FULL else FLAVOURS[:1])
def test_a_server_that_goes_away_and_comes_back(flavour, tmp_path):
    server = Server(flavour, "--appendonly", "yes", "--appendfsync", "always")
    rig = SignoffRig(server, tmp_path / "ledger")
    process = FORKS.Process(target=child.run, args=(environment(server.url, rig),))
    process.start()
    sent = []
    try:
        for turn in range(10 if FULL else 2):
            sent += [rig.send(operation=f"{turn}-{at}") for at in range(20)]
            server.kill()
            server.start()
            rig.db = rig.backend.db = server.connect()
            wait_until(lambda: settled(rig, len(sent)), 60, "recorded")
        assert process.is_alive()
        wait_until(lambda: len(rig.told()) == recorded(rig), 30, "and told of")
        once(rig, sent)
    finally:
        process.kill()
        process.join(10)
        server.close()
