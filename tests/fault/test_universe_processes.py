"""Two universe producers as real processes; the leader is killed and frozen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from quantum_ops import streams
from quantum_ops.universe import load_universe
from tests.contract.reference import ROOT
from tests.exchange import Exchange, answer, body, drip
from tests.waiting import wait_until

REFRESH_S = 1.0


class Producer:
    def __init__(self, url: str, exchange: str, log: Path = Path(os.devnull)) -> None:
        environment = {
            "PATH": os.environ["PATH"], "REDIS_URL": url, "UNIVERSE_URL": exchange,
            "UNIVERSE_REFRESH_SEC": str(REFRESH_S), "QUANTUM_ENV_DIR": "/nonexistent",
            "REDIS_TIMEOUT_SEC": "1",
        }  # fmt: skip
        with log.open("wb") as lines:
            self.process = subprocess.Popen(
                [sys.executable, "-u", "-m", "producers", "universe"],
                cwd=ROOT, env=environment, stdout=lines,
            )  # fmt: skip

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        return self.process.wait(10)


@pytest.fixture
def world(server):
    exchange = Exchange(answer(body("BTCUSDT", "ETHUSDT")))
    started: list[Producer] = []

    def start() -> Producer:
        started.append(Producer(server.url, exchange.url))
        return started[-1]

    yield exchange, start
    for one in started:
        one.end()
    exchange.close()


def fence(db) -> int:
    return int(db.hget(streams.UNIVERSE_META, "fence") or 0)


def fresh(db) -> bool:
    return load_universe(db, now_s=time.time()).status == "fresh"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_standby_takes_over_within_two_refreshes_and_the_old_leader_changes_nothing(
    how, world, server, db
):
    exchange, start = world
    leader = start()
    wait_until(lambda: fence(db) == 1 and fresh(db), 15)
    start()
    wait_until(lambda: exchange.seen >= 3, 10)
    # When the leader is killed or frozen
    leader.process.send_signal(how)
    at = time.monotonic()
    wait_until(lambda: fence(db) == 2, 10, "taken over")
    took = time.monotonic() - at
    # Then the other leads; the bound is the issue's, with room for a busy machine's scheduling
    assert took < 2 * REFRESH_S + 2
    assert fresh(db)
    # And a frozen one that wakes up finds itself fenced off: no second event, no older fence
    leader.process.send_signal(signal.SIGCONT)
    seen = exchange.seen
    wait_until(lambda: exchange.seen >= seen + 3, 10)
    assert fence(db) == 2
    assert db.xlen(streams.UNIVERSE_CHANGED.key) == 1


def test_stop_gives_the_lease_back_and_ends_at_once(world, server, db):
    _, start = world
    leader = start()
    wait_until(lambda: fence(db) == 1, 15)
    at = time.monotonic()
    assert leader.end() == 0
    assert time.monotonic() - at < 5
    assert db.get(streams.UNIVERSE_LEASE) is None


def test_server_killed_under_it_is_waited_for(world):
    from tests.servers import Server

    exchange, _ = world
    server = Server("valkey", "--appendonly", "yes", "--appendfsync", "always")
    producer = Producer(server.url, exchange.url)
    try:
        wait_until(lambda: fresh(server.connect()), 15)
        server.kill()
        server.start()
        db = server.connect()
        before = int(db.hget(streams.UNIVERSE_META, "checked_epoch") or 0)
        wait_until(lambda: int(db.hget(streams.UNIVERSE_META, "checked_epoch")) > before, 15)
        assert producer.process.poll() is None
        assert db.xlen(streams.UNIVERSE_CHANGED.key) == 1
    finally:
        producer.end()
        server.close()


def test_stop_does_not_wait_for_a_fetch_and_blames_nobody_for_it(world, server, db):
    # Given a leader in the middle of an answer that drips
    exchange, start = world
    leader = start()
    wait_until(lambda: fresh(db), 15)
    exchange.respond = drip(body("BTCUSDT"), 0.05, headers=False)
    seen = exchange.seen
    wait_until(lambda: exchange.seen > seen, 10)
    # When it is asked to stop
    at = time.monotonic()
    assert leader.end() == 0
    # Then it stops at once, gives the lease back, and the universe is not flagged for that
    assert time.monotonic() - at < len(body("BTCUSDT")) * 0.05 / 2
    assert db.get(streams.UNIVERSE_LEASE) is None
    assert db.hget(streams.UNIVERSE_META, "stale") == b"0"


def test_answer_slower_than_the_lease_is_told_as_a_timeout(world, server, db):
    # Given an exchange that takes longer than two refreshes, well within HTTP_TIMEOUT_SEC
    exchange, start = world
    exchange.respond = drip(body("BTCUSDT"), 0.05, headers=True)
    start()
    # Then its only producer still holds the lease when the fetch is given up, and says why
    error = wait_until(lambda: db.hget(streams.UNIVERSE_META, "error"), 10)
    assert error.startswith(b"timeout")


def leader_pid(db) -> int:
    beat = db.hgetall(streams.heartbeat("universe", 0))
    return int(beat[b"pid"]) if beat.get(b"role") == b"leader" else 0


def test_ban_outlives_a_killed_producer(world, server, db):
    # Given a leader that was told to stay away for five minutes, and is killed
    exchange, start = world
    exchange.respond = answer(b"{}", 418, Retry_After="300")
    leader = start()
    wait_until(lambda: db.hget(streams.UNIVERSE_META, "error"), 15)
    leader.process.kill()
    leader.process.wait()
    # When another one leads
    heir = start()
    wait_until(lambda: leader_pid(db) == heir.process.pid, 10)
    # Then it does not ask, which would prolong the ban; at another host it would
    assert exchange.seen == 1
    assert fence(db) == 1
    assert db.hget(streams.UNIVERSE_META, "error").startswith(b"http_418")


def test_ban_outlives_a_server_that_goes_away(world, tmp_path):
    from tests.servers import Server

    exchange, _ = world
    exchange.respond = answer(b"{}", 429, Retry_After="300")
    server = Server("valkey", "--appendonly", "yes", "--appendfsync", "always")
    log = tmp_path / "log"
    producer = Producer(server.url, exchange.url, log)
    try:
        wait_until(lambda: server.connect().hget(streams.UNIVERSE_META, "error"), 15)
        server.kill()
        wait_until(lambda: "redis_away" in log.read_text(), 10)
        server.start()
        db = server.connect()
        # A heartbeat is written again: the producer is back, and still waits
        db.delete(streams.heartbeat("universe", 0))
        wait_until(lambda: leader_pid(db) == producer.process.pid, 15)
        assert exchange.seen == 1
    finally:
        producer.end()
        server.close()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"UNIVERSE_MODE": "Testnet"}, "did you mean testnet?"),
        ({"UNIVERSE_URL": "ftp://x"}, "no http(s) address"),
        ({"UNIVERSE_URL": "http://[::1"}, "no http(s) address"),
        ({"UNIVERSE_URL": "https://h:port/x"}, "no http(s) address"),
        ({"REDIS_URL": "http://x"}, "scheme"),
    ],
)
def test_wrong_settings_are_one_line_and_exit_78(settings, told):
    done = subprocess.run(
        [sys.executable, "-m", "producers", "universe"],
        cwd=ROOT, text=True, capture_output=True, check=False,
        env={"PATH": os.environ["PATH"], "QUANTUM_ENV_DIR": "/nonexistent", **settings},
    )  # fmt: skip
    assert done.returncode == 78
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
