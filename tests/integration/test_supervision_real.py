"""The system as it ships, its real programs, on a recorded exchange: started, killed, stopped."""

from __future__ import annotations

import json
import os
import signal

import pytest

from quantum_ops import streams
from tests.exchange import Exchange, answer, recorded
from tests.supervised import System, is_alive
from tests.waiting import wait_until

pytestmark = pytest.mark.whole

COUNT = 472


@pytest.fixture
def system():
    exchange = Exchange(answer(recorded("testnet_2025-10-29_poll1")))
    system = System()
    system.environ["UNIVERSE_URL"] = exchange.url
    system.environ["UNIVERSE_REFRESH_SEC"] = "1"
    system.exchange = exchange
    yield system
    system.close()
    exchange.close()


def test_the_real_programs_survive_the_server_and_supervisord(system):
    # given the whole system on a recorded body
    system.start()
    db = system.connect()
    assert len(json.loads(db.get(streams.UNIVERSE_ACTIVE))["symbols"]) == COUNT
    wait_until(lambda: audited(db) == 1, 10, "the change is audited")
    table = system.verb("status").stdout
    assert f"{COUNT} symbols" in table
    before = system.pids()

    # when the server is killed
    os.kill(before["redis"], signal.SIGKILL)
    wait_until(lambda: system.pids()["redis"] not in (0, before["redis"]), 20, "a new server")
    system.wait_ready()
    # then producer and consumer carry on under their pids, and the restart made no event
    after = system.pids()
    assert {n: p for n, p in after.items() if n != "redis"} == {
        n: p for n, p in before.items() if n != "redis"
    }
    db = system.connect()
    assert db.xlen(streams.UNIVERSE_CHANGED.key) == 1

    # when supervisord is killed, everything is started again and the exchange lists something new
    os.kill(system.supervisord(), signal.SIGKILL)
    system.start()
    assert [pid for pid in after.values() if is_alive(pid)] == []
    system.exchange.respond = answer(recorded("testnet_2025-11-10"))
    db = system.connect()
    wait_until(lambda: db.xlen(streams.UNIVERSE_CHANGED.key) == 2, 15, "the second change")
    # then one consumer, of the same name, has audited each change once
    wait_until(lambda: audited(db) == 2, 10, "both audited")
    assert len(db.xinfo_consumers(streams.UNIVERSE_CHANGED.key, "universe_audit")) == 1

    # when it is asked to stop, then everything ends and nothing had to be cleared up
    stopped = system.verb("stop")
    assert (stopped.returncode, stopped.stderr) == (0, "")


def test_a_wrong_producer_setting_found_late_still_stays_down(system):
    # given an address that only the producer can judge
    started = system.verb("start", UNIVERSE_URL="ftp://exchange/info")
    # then it is named, and was not started over and over
    assert started.returncode == 3
    assert "ftp://exchange/info" in started.stderr
    log = (system.paths.log / "supervisord.log").read_text()
    assert log.count("spawned: 'universe'") == 1


def audited(db) -> int:
    group = next(
        (
            g
            for g in db.xinfo_groups(streams.UNIVERSE_CHANGED.key)
            if g["name"] == b"universe_audit"
        ),
        {"last-delivered-id": b"0-0", "pending": 1},
    )
    done = db.xrange(streams.UNIVERSE_CHANGED.key, "-", group["last-delivered-id"])
    return len(done) - group["pending"]
