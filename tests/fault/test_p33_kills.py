"""P3.3 and servers that fail it: killed, full, without replies, refusing; nothing is decided twice.

Its own processes are killed and put to sleep in tests/reliability.
"""

from __future__ import annotations

import signal
import time

import pytest

from quantum_ops import streams
from tests.p33_rig import publish_universe, send
from tests.p33_stories import opening, plan
from tests.p33_world import PLANS, World
from tests.programs import FULL, Program
from tests.proxy import Proxy, now_and_then
from tests.servers import Server
from tests.waiting import wait_until


@pytest.fixture
def programs():
    started: list[Program] = []
    yield started
    for program in started:
        program.end()


def three(url: str, **others: str) -> list[Program]:
    settings = {"P33_STALE_THRESHOLD_SEC": "60", **others}
    return [Program(url, "p33", number, **settings) for number in range(3)]


def test_killed_server_loses_and_doubles_no_decision(programs):
    server = Server("valkey", "--appendonly", "yes", "--appendfsync", "always")
    try:
        world = World(server.connect())
        programs += three(server.url)
        # Before that, none knows yet what SIGTERM means.
        beats = [streams.heartbeat("p33", number) for number in range(3)]
        wait_until(lambda: world.db.exists(*beats) == len(beats), 20, "all are up")
        for _ in range(3):
            world.burst()
            server.kill()
            server.start()
            world.db = server.connect()
        wait_until(world.is_settled, 60, "settled")
        world.check()
        assert [program.end() for program in programs] == [0, 0, 0]
    finally:
        server.close()


# A session needs a dozen replies to begin: with three of ten lost, a burst takes many minutes.
@pytest.mark.parametrize(("share", "bursts"), [(0.03, 6), *([(0.1, 1), (0.2, 1)] if FULL else [])])
def test_lost_replies_lose_and_double_no_decision(share, bursts, server, db, programs):
    # Given a line that loses a share of all replies, each of which ends the connection
    world = World(db)
    proxy = Proxy(server.socket, now_and_then(share, seed=11))
    try:
        # A delivery whose session ends counts as one, although nobody could handle it.
        programs += three(proxy.url, QUANTUM_MAX_DELIVERIES="1000")
        for _ in range(bursts):
            world.burst()
        wait_until(world.is_settled, 120, "settled")
        assert proxy.dropped > 5
        world.check()
    finally:
        proxy.close()


def test_full_memory_permits_nothing_that_is_not_told_and_loses_nothing(valkey, programs):
    db = valkey.connect()
    world = World(db)
    programs += three(valkey.url)
    wait_until(lambda: db.exists(streams.heartbeat("p33", 2)), 20, "all are up")
    try:
        world.burst()
        db.config_set("maxmemory", "1mb")
        time.sleep(0.5)  # the outage itself
        permits = {key.decode().rpartition(":")[2] for key in db.scan_iter("quantum:permit:p33:*")}
        told = {f[b"plan_id"].decode() for _, f in db.xrange(streams.PERMIT_DECIDED.key)}
        assert permits <= told
    finally:
        db.config_set("maxmemory", "0")
    world.burst()
    wait_until(world.is_settled, 60, "settled")
    world.check()


@pytest.mark.parametrize("how", ["replica", "too_few_replicas"])
def test_server_that_takes_no_writes_permits_nothing_and_loses_nothing(how, programs):
    # Given plans that wait, and a server that answers every question and takes no write
    server = Server("valkey")
    try:
        db = server.connect()
        world = World(db)
        programs += three(server.url)
        wait_until(lambda: db.exists(streams.heartbeat("p33", 2)), 20, "all are up")
        for program in programs:
            program.signal(signal.SIGSTOP)
        world.burst()
        if how == "replica":
            db.execute_command("REPLICAOF", "127.0.0.1", "1")
        else:
            db.config_set("min-replicas-to-write", "1")
        for program in programs:
            program.signal(signal.SIGCONT)
        time.sleep(0.5)  # the outage itself
        assert db.xlen(streams.PERMIT_DECIDED.key) == 0
        assert list(db.scan_iter(streams.permit("p33", "*"))) == []
        # When it takes writes again
        db.execute_command("REPLICAOF", "NO", "ONE")
        db.config_set("min-replicas-to-write", "0")
        # Then the same processes go on
        wait_until(world.is_settled, 60, "settled")
        world.check()
        assert [program.end() for program in programs] == [0, 0, 0]
    finally:
        server.close()


def test_right_that_is_missing_ends_the_process_with_78(valkey):
    db = valkey.connect()
    publish_universe(db, "BTCUSDT")
    rights = ["on", "nopass", "+@all", "~quantum:stream:*", "~quantum:ops:*", "~quantum:cfg:*"]
    db.execute_command("ACL", "SETUSER", "gate", "reset", *rights)
    program = Program(valkey.url + "?username=gate&password=x", "p33")
    try:
        send(db, plan())
        assert program.process.wait(20) == 78
        # And the plan is still there for a process that may
        assert db.xpending(PLANS, "p33")["pending"] == 1
        assert db.exists(streams.permit("p33", plan().plan_id)) == 0
    finally:
        program.end()
        db.execute_command("ACL", "DELUSER", "gate")


def test_flushed_server_is_never_decided_on_by_what_was_known_before(valkey, programs):
    db = valkey.connect()
    world = World(db)
    programs += three(valkey.url)
    world.burst()
    wait_until(world.is_settled, 30, "settled")
    # When everything is wiped, universe and positions included
    db.flushall()
    send(db, opening(plan_id="e" * 16, symbol="ETHUSDT"))
    found = wait_until(lambda: db.xrange(streams.PERMIT_DECIDED.key), 10, "decided")
    assert [(f[b"allow"], f[b"reason"]) for _, f in found] == [(b"false", b"symbol_not_allowed")]
