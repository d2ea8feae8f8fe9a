"""The second fetch against an exchange over HTTP and a real server, judged by the auditor."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import redis

from consumers.universe_audit import NO_FETCH, universe_audit
from ops.daemon import Process
from ops.readiness import Server as Sight
from ops.readiness import judge
from producers.binance import ExchangeInfo
from producers.universe_check import OFF, UniverseCheck
from quantum_ops import client, codec, streams
from quantum_ops.audit import telling
from quantum_ops.clock import Clock
from quantum_ops.events import AuditFinding, UniverseChecked
from quantum_ops.settings import UniverseAuditSettings, UniverseCheckSettings, UniverseSettings
from tests.backends import RedisBackend
from tests.contract.reference import ROOT
from tests.exchange import SIX, Exchange, answer, body, drip, row
from tests.p33_rig import ShiftedClock
from tests.universe_rig import Rig
from tests.waiting import wait_until


class World:
    """The producer and the second fetch, each with the exchange that it sees, and the auditor."""

    def __init__(self, server, **settings) -> None:
        self.server = server
        self.there, self.here = Exchange(answer(body(*SIX))), Exchange(answer(body(*SIX)))
        self.rig = Rig(server, self.there, refresh_s=0.5)
        self.db = self.rig.db
        rules = UniverseSettings(url=self.here.url, http_timeout_s=0.3, max_bytes=100_000)
        self.check = UniverseCheck(
            UniverseCheckSettings(enabled=True), rules, server.connect(), ExchangeInfo(rules),
            Clock(),
        )  # fmt: skip
        self.backend = RedisBackend(server.connect)
        self.clock = ShiftedClock()
        given = UniverseAuditSettings(**{"fetch": True, **settings})
        self.auditor, self.observer = self.backend.runner(
            universe_audit, settings=given, clock=self.clock
        )

    def close(self) -> None:
        self.there.close()
        self.here.close()

    def both_show(self, *rows) -> None:
        self.there.respond = self.here.respond = answer(body(*rows))

    def turn(self) -> None:
        """A refresh, a second fetch, and what the auditor says to it."""
        self.rig.turn()
        self.check.turn()
        self.settle()

    def settle(self) -> None:
        self.backend.settle(self.auditor)

    def look(self, seconds: float = 0.0) -> None:
        """The auditor's own look, so much later."""
        self.clock.shift_s += seconds
        self.auditor._tick_due = 0.0
        self.auditor.step(wait=False)
        self.auditor.flush()

    def told(self) -> list[str]:
        found = self.rig.findings()
        return [one.finding for one in found if one.auditor == "universe_audit"]

    def checks(self) -> list[UniverseChecked]:
        return self.backend.events(UniverseChecked)

    @property
    def hindrance(self) -> str:
        return self.auditor._context.vitals["hindrance"]


@pytest.fixture
def world(server):
    made = World(server)
    yield made
    made.close()


def test_universe_that_is_the_exchanges_is_proven_once(world):
    for _ in range(3):
        world.turn()
    assert world.told() == ["universe_consistent", "universe_agrees_with_exchange"]
    [first, *_] = world.checks()
    assert (first.outcome, first.fresh, first.differing, first.count) == ("compared", True, 0, 6)
    assert first.symbols_sha256.encode() == world.db.hget(streams.UNIVERSE_META, "symbols_sha256")
    # And each change is proven anew
    world.both_show(*SIX, "NEWUSDT")
    world.turn()
    assert world.told()[2:] == ["universe_consistent", "universe_agrees_with_exchange"]


def test_exchange_that_keeps_showing_something_else_is_told_once_with_names(world):
    # Given a second fetch that sees one symbol more, one less, and another step size
    world.turn()
    odd = row("BTCUSDT")
    odd["filters"][0]["stepSize"] = "0.01"
    rows = [*(one for one in SIX if one not in ("AAAUSDT", "BTCUSDT")), odd, "NEWUSDT"]
    world.here.respond = answer(body(*rows))
    # When it stays so although the producer has fetched anew
    world.turn()
    assert "universe_differs_from_exchange" not in world.told()
    wait_until(lambda: world.turn() or "universe_differs_from_exchange" in world.told(), 15)
    # Then it is told once, critical, with every name
    for _ in range(3):
        world.turn()
    found = [one for one in world.rig.findings() if one.finding.startswith("universe_differs")]
    assert [one.severity for one in found] == ["critical"]
    assert found[0].detail == (
        "not published: NEWUSDT; not tradeable: AAAUSDT; other attributes: BTCUSDT"
    )
    entries = [id_.decode() for id_, _ in world.db.xrange(streams.UNIVERSE_CHECKED.key)]
    assert set(found[0].evidence) & set(entries)
    # And nothing is proven until both see the same again
    world.look()
    assert "AAAUSDT" in world.hindrance
    world.there.respond = world.here.respond
    world.turn()
    world.look()
    assert world.told()[-1] == "universe_agrees_with_exchange"
    assert world.hindrance == ""


def test_change_between_the_two_fetches_is_no_difference(world):
    # Given an exchange that changes just after each refresh: each check sees one symbol more
    world.turn()
    for number in range(6):
        world.here.respond = answer(body(*SIX, *(f"NEW{n}USDT" for n in range(number + 1))))
        world.check.turn()
        world.there.respond = world.here.respond
        world.rig.turn()
        world.settle()
    assert max(check.differing for check in world.checks()) == 1
    assert "universe_differs_from_exchange" not in world.told()


HOSTILE = {
    "html": (answer(b"<html>busy</html>", 200, Content_Type="text/html"), "not_json"),
    "cut off": (answer(body(*SIX)[:-40]), "not_"),
    "a list": (answer(b"[1]"), "not_json"),
    "deep": (answer(b'{"symbols":' + b"[" * 50_000), "not_"),
    "endless": (answer(b'{"symbols":[' + b" " * 200_000 + b"]}"), "too_large"),
    "no symbols": (answer(body()), "empty"),
    "another network": (answer(body(*SIX, weight=2400)), "wrong_network"),
    "a redirect": (answer(b"", 302, Location="http://127.0.0.1:1/"), "redirect"),
    "refused": (answer(b'{"code":0,"msg":"not here"}', 451), "http_451"),
    "silence": (lambda _handler: time.sleep(0.5), "timeout"),
    "drip": (drip(body(*SIX), 0.05, headers=False), "timeout"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_answer_is_a_failure_and_never_a_difference(what, valkey):
    world = World(valkey)
    try:
        world.turn()
        world.here.respond, reason = HOSTILE[what]
        for _ in range(3):
            world.turn()
        assert [check.outcome for check in world.checks()[1:]] == ["failed"] * 3
        assert world.checks()[-1].reason.startswith(reason)
        assert world.told().count("universe_check_failed") == 1
        assert "universe_differs_from_exchange" not in world.told()
        # And the producer's own universe is none the worse for it
        assert world.rig.meta()["stale"] == "0"
        world.look()
        assert reason in world.hindrance
        world.here.respond = answer(body(*SIX))
        world.turn()
        world.look()
        assert (world.hindrance, world.told()[-1]) == ("", "universe_agrees_with_exchange")
    finally:
        world.close()


def test_rows_that_the_producer_would_not_take_are_no_difference(world):
    # Given rows that only the second fetch sees, none of which may be published
    world.turn()
    odd = [
        "测试USDT", "\x1b[2JUSDT", row("NOFILTERUSDT", filters=[]), {"symbol": 5}, "lowerusdt",
        row("QUARTERUSDT", contractType="CURRENT_QUARTER"), "TWICEUSDT", "TWICEUSDT", None,
    ]  # fmt: skip
    world.here.respond = answer(body(*SIX, *odd))
    world.turn()
    assert world.checks()[-1].differing == 0


WRONG = {
    "active": streams.UNIVERSE_ACTIVE,
    "meta": streams.UNIVERSE_META,
    "symbols": streams.UNIVERSE_SYMBOLS,
}


@pytest.mark.parametrize("name", WRONG)
def test_keys_of_another_type_are_not_compared_and_stop_nobody(name, world):
    world.turn()
    world.db.delete(WRONG[name])
    world.db.rpush(WRONG[name], "somebody was here")
    world.check.turn()
    world.settle()
    event = world.checks()[-1]
    assert (event.outcome, event.fresh, event.differing) == ("compared", False, 0)
    assert "WRONGTYPE" in event.reason
    # The producer heals them within a turn or two, and the proof goes on
    wait_until(lambda: _turned(world) and world.checks()[-1].fresh, 10)


def _turned(world) -> bool:
    try:
        world.turn()
    except redis.ResponseError:
        world.rig.store.heal()
    return True


def test_memories_of_another_type_bury_no_change(world):
    # Given somebody who wrote lists where the auditor remembers
    world.turn()
    for key in (streams.UNIVERSE_AUDITED, streams.UNIVERSE_AUDIT_CHECKS):
        world.db.delete(key)
        world.db.rpush(key, "somebody was here")
    world.both_show(*SIX, "NEWUSDT")
    world.turn()
    assert world.told()[2:] == ["universe_consistent", "universe_agrees_with_exchange"]
    assert world.db.xlen(streams.DEAD_LETTER.key) == 0
    world.db.hset(streams.UNIVERSE_AUDITED, "symbols", "{")
    world.both_show(*SIX)
    world.turn()
    assert world.told()[4:] == ["universe_consistent", "universe_agrees_with_exchange"]


@pytest.mark.parametrize("fields", [{"no": "check"}, {"schema": "universe.checked/1", "x": "\xff"}])
def test_hostile_entry_is_buried_and_the_next_check_judged(fields, world):
    world.db.xadd(streams.UNIVERSE_CHECKED.key, fields)
    world.turn()
    assert world.db.xlen(streams.DEAD_LETTER.key) == 1
    assert "universe_agrees_with_exchange" in world.told()


def test_ban_of_the_producer_holds_for_the_second_fetch(world):
    world.turn()
    seen = world.here.seen
    until = int(time.time()) + 90
    ban = {"banned_until_epoch": until, "banned_host": world.here.url.split("/")[2]}
    world.db.hset(streams.UNIVERSE_META, mapping=ban)
    assert 80 < world.check.turn() <= 90
    assert world.here.seen == seen
    assert "wants to be left alone" in world.checks()[-1].reason


def behind(world, number: int = 0, epoch: int = 0) -> None:
    """A P3.3 process that says that it is at ``epoch``, now."""
    at_ms = int(world.clock.now_s() * 1000)
    beat = {"state": "ready", "updated_ms": at_ms, "allowlist_source": "universe",
            "universe_epoch": epoch}  # fmt: skip
    world.db.hset(streams.heartbeat("p33", number), mapping=beat)
    fresh = {"checked_epoch": at_ms // 1000, "refresh_sec": 60}
    world.db.hset(streams.UNIVERSE_META, mapping=fresh)


def test_reader_behind_is_told_by_its_heartbeat(world):
    world.turn()
    for _ in range(5):
        behind(world, 3)
        world.look(5)
    [found] = [one for one in world.rig.findings() if one.finding == "universe_reader_behind"]
    assert (found.severity, found.subject) == ("warning", "p33-03")
    assert found.evidence == (streams.heartbeat("p33", 3),)
    assert "p33-03 is at epoch 0" in world.hindrance


class KilledError(Exception):
    """The process ends here."""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_between_the_look_and_its_telling_it_tells_once(moment, world, monkeypatch):
    # Given a look that has found something
    world.turn()
    for _ in range(2):
        behind(world)
        world.look(5)
    run = telling.run_scripts

    def dies(*args):
        if moment == "after":
            run(*args)
        raise KilledError

    # When it is killed before the telling, or before it hears that it was told
    monkeypatch.setattr(telling, "run_scripts", dies)
    behind(world)
    with pytest.raises(KilledError):
        world.look(5)
    monkeypatch.undo()
    # Then its heir tells it, or knows that it was told
    heir, _ = world.backend.runner(
        universe_audit, settings=UniverseAuditSettings(fetch=True), clock=world.clock
    )
    world.auditor = heir
    for _ in range(3):
        behind(world)
        world.look(5)
    assert world.told().count("universe_reader_behind") == 1


def test_lost_reply_to_the_telling_is_told_once(world, monkeypatch):
    world.turn()
    run = telling.run_scripts

    def loses(*args):
        run(*args)
        raise redis.ConnectionError("the reply was lost")

    monkeypatch.setattr(telling, "run_scripts", loses)
    for _ in range(4):
        behind(world)
        with pytest.raises(redis.ConnectionError):
            world.look(5)
    assert world.told().count("universe_reader_behind") == 1


def test_of_two_that_judged_on_the_same_memory_one_tells(db):
    # Given two auditors that looked at the same moment
    key = streams.UNIVERSE_AUDIT_READERS

    def tells(before, after: str) -> bool:
        finding = AuditFinding(
            auditor="universe_audit", finding="universe_churn", severity="info", subject=after
        )
        return telling.tell(db, key, before, after, [finding])

    assert tells(None, "one")
    assert not tells(None, "other")
    # And a look that rests on what was written since
    assert tells(b"one", "two")
    assert not tells(b"one", "three")
    told = [fields[b"subject"] for _, fields in db.xrange(streams.AUDIT_FINDING.key)]
    assert (told, db.get(key)) == ([b"one", b"two"], b"two")
    # And a key of another type is nothing to rest on, and replaced
    db.delete(key)
    db.rpush(key, "somebody was here")
    assert tells(redis.ResponseError("WRONGTYPE"), "four")
    assert db.get(key) == b"four"


def test_finding_stream_that_takes_nothing_keeps_the_memory(world):
    world.turn()
    for _ in range(2):
        behind(world)
        world.look(5)
    # Given a Finding that cannot be told
    world.db.rename(streams.AUDIT_FINDING.key, "kept")
    world.db.set(streams.AUDIT_FINDING.key, "somebody was here")
    behind(world)
    with pytest.raises(redis.ResponseError):
        world.look(5)
    # When it can, it is
    world.db.delete(streams.AUDIT_FINDING.key)
    behind(world)
    world.look(1)
    assert world.told() == ["universe_reader_behind"]


def test_caveat_says_whose_word_it_is(server):
    world = World(server, fetch=False)
    try:
        world.look()
        assert world.auditor._context.vitals["caveat"] == NO_FETCH
    finally:
        world.close()


class Running:
    """The program itself, as supervisord starts it."""

    def __init__(self, url: str, **environ: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", "producers", "universe_check"],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={
                "PATH": os.environ["PATH"], "REDIS_URL": url, "QUANTUM_ENV_DIR": "/nonexistent",
                "REDIS_TIMEOUT_SEC": "1", **environ,
            },
        )  # fmt: skip
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        self.lines += self.process.stdout

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(10)
        self._reader.join(10)
        self.process.stdout.close()
        return code


def beat_of(db) -> dict[str, str]:
    found = db.hgetall(streams.heartbeat("universe_check", 0))
    return {name.decode(): value.decode() for name, value in found.items()}


def shown(beat: dict[str, str]) -> tuple[str, str]:
    """What ./run status says of it."""
    process = Process(
        name="universe_check", group="universe_check", state="RUNNING", pid=int(beat["pid"]),
        now=1000, started_at=900, said="", exit_status=0,
        command='"python" -m producers universe_check', priority=500, autostart=True,
        stop_wait_s=30, log="",
    )  # fmt: skip
    verdict = judge(
        process, beat, Sight(owned=True), host=beat["host"], now_ms=int(time.time() * 1000)
    )
    return verdict.ready, verdict.detail


def test_switched_off_it_is_ready_asks_nobody_and_says_how_to_switch_it_on(valkey, exchange):
    db = valkey.connect()
    running = Running(valkey.url, UNIVERSE_URL=exchange.url)
    try:
        beat = wait_until(lambda: beat_of(db), 15)
        assert shown(beat) == ("READY", OFF)
    finally:
        code = running.end()
    assert (code, exchange.seen, db.keys("*")) == (0, 0, [])


def test_hanging_exchange_neither_silences_it_nor_keeps_it_from_stopping(valkey):
    # Given an exchange that takes the connection and says nothing
    done = threading.Event()
    exchange = Exchange(lambda _handler: done.wait(30))
    db = valkey.connect()
    running = Running(
        valkey.url, UNIVERSE_AUDIT_FETCH="true", UNIVERSE_AUDIT_FETCH_SEC="0.5",
        HTTP_TIMEOUT_SEC="2", UNIVERSE_URL=exchange.url,
    )  # fmt: skip
    try:
        wait_until(lambda: db.xlen(streams.UNIVERSE_CHECKED.key), 20, "a failed check")
        [(_, flat), *_] = client.raw(db, "XRANGE", streams.UNIVERSE_CHECKED.key, "-", "+")
        event = codec.decoder(UniverseChecked)(flat)
        assert (event.outcome, event.reason) == ("failed", "timeout: no whole answer within 2 s")
        told = ("READY", "timeout: no whole answer within 2 s")
        wait_until(lambda: shown(beat_of(db)) == told, 10, "its heartbeat says so, too")
        # When it is stopped in the middle of the next one
        seen = exchange.seen
        wait_until(lambda: exchange.seen > seen, 10, "it asks again")
        began = time.monotonic()
        code = running.end()
    finally:
        done.set()
        running.end()
        exchange.close()
    # Then it ends at once, and a fetch that our own stop cut off is no failure
    assert code == 0
    assert time.monotonic() - began < 8
    assert beat_of(db) == {}


def test_server_that_goes_away_is_waited_for(valkey, exchange):
    from tests.servers import Server

    server = Server("valkey")
    running = Running(
        server.url, UNIVERSE_AUDIT_FETCH="true", UNIVERSE_AUDIT_FETCH_SEC="0.5",
        UNIVERSE_URL=exchange.url,
    )  # fmt: skip
    try:
        wait_until(lambda: server.connect().xlen(streams.UNIVERSE_CHECKED.key), 20, "a check")
        pid = running.process.pid
        server.kill()
        wait_until(lambda: any("redis_away" in line for line in running.lines), 20, "noticed")
        server.start()
        wait_until(lambda: server.connect().xlen(streams.UNIVERSE_CHECKED.key), 20, "a check")
        assert (running.process.poll(), running.process.pid) == (None, pid)
    finally:
        running.end()
        server.close()


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"UNIVERSE_AUDIT_FETCH": "maybe"}, "UNIVERSE_AUDIT_FETCH"),
        ({"UNIVERSE_AUDIT_FETCH_SEC": "0"}, "UNIVERSE_AUDIT_FETCH_SEC"),
        ({"UNIVERSE_URL": "ftp://x"}, "UNIVERSE_URL"),
    ],
)
def test_wrong_settings_are_told_and_exit_78(environ, told, valkey):
    running = Running(valkey.url, **environ)
    assert running.process.wait(20) == 78
    running.end()
    assert told in "".join(running.lines)


def test_what_is_remembered_is_plain_json(world):
    # Operators look at it under the key that docs/streams.md names
    world.turn()
    kept = json.loads(world.db.get(streams.UNIVERSE_AUDIT_CHECKS))
    assert kept["suspects"] == {}
    assert kept["news"] is False
