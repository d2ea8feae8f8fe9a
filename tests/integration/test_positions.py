"""The producer of positions against a signed exchange over HTTP and a real server."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.parse

import pytest

from ops.daemon import Process
from ops.readiness import Server as Sight
from ops.readiness import judge
from producers import positions as program
from producers.credentials import Credentials
from producers.lease import Lease, LostLeaseError
from producers.position_store import PositionStore
from producers.positions import OFF, PositionsProducer
from producers.signed_exchange import SignedExchange
from quantum_ops import codec, streams
from quantum_ops.clock import Clock
from quantum_ops.events import AuditFinding
from quantum_ops.heartbeat import Heartbeat
from quantum_ops.settings import PositionsSettings
from tests.contract.reference import ROOT
from tests.exchange import Exchange, answer, drip
from tests.waiting import wait_until

KEY, SECRET = "CANARYkey" + "k" * 55, "CANARYsecret" + "s" * 52
CREDENTIALS = Credentials(KEY, SECRET)


def row(symbol: str, amount: str = "0.000", **fields) -> dict:
    return {
        "symbol": symbol, "positionAmt": amount, "entryPrice": "90000.0", "markPrice": "91234.5",
        "unRealizedProfit": "0.1", "leverage": "20", "positionSide": "BOTH", **fields,
    }  # fmt: skip


class SignedWorld(Exchange):
    """Checks each request as the exchange does; ``say`` answers instead while it is set."""

    def __init__(self, *rows: dict) -> None:
        super().__init__(self._serve)
        self.base = self.url.removesuffix("/fapi/v1/exchangeInfo")
        self.rows = list(rows)
        self.say = None
        self.ahead_s = 0.0
        self.times = 0
        self.asked = 0
        self.wrong: list[str] = []

    def _serve(self, handler) -> None:
        url = urllib.parse.urlsplit(handler.path)
        now_ms = (time.time() + self.ahead_s) * 1000
        if url.path == "/fapi/v1/time":
            self.times += 1
            answer(json.dumps({"serverTime": int(now_ms)}).encode())(handler)
            return
        self.asked += 1
        if self.say is not None:
            self.say(handler)
            return
        query, _, signature = url.query.rpartition("&signature=")
        told = urllib.parse.parse_qs(query)
        expected = hmac.new(SECRET.encode(), query.encode(), hashlib.sha256).hexdigest()
        if url.path != "/fapi/v2/positionRisk":
            self.wrong.append(url.path)
        if handler.headers.get("X-MBX-APIKEY") != KEY:
            self.wrong.append("key")
        if signature != expected:
            refuse(-1022, "Signature for this request is not valid.")(handler)
        elif not 0 <= now_ms + 1000 - int(told["timestamp"][0]) <= int(told["recvWindow"][0]):
            refuse(-1021, "Timestamp for this request is outside of the recvWindow.")(handler)
        else:
            answer(json.dumps(self.rows).encode())(handler)


def refuse(code: int, text: str, status: int = 400, **headers: str):
    return answer(json.dumps({"code": code, "msg": text}).encode(), status, **headers)


@pytest.fixture
def world():
    served = SignedWorld(row("BTCUSDT", "-1.500"), row("ETHUSDT"))
    yield served
    served.close()


class Rig:
    """One producer, turned by hand."""

    def __init__(self, server, world, **settings) -> None:
        self.db = server.connect()
        self.settings = PositionsSettings(
            **{"url": world.base, "refresh_s": 2.0, "http_timeout_s": 2.0, **settings}
        )
        self.clock = Clock()
        self.lease = Lease(self.db, streams.POSITIONS_LEASE, streams.POSITIONS_FENCE, 60_000)
        self.store = PositionStore(self.db, self.lease)
        self.http = SignedExchange(self.settings, CREDENTIALS, self.clock)
        self.producer = PositionsProducer(
            self.settings, self.store, self.http, self.clock, Heartbeat(self.db, "positions")
        )
        self.turn = self.producer.turn

    def position(self, symbol: str) -> dict[str, str]:
        found = self.db.hgetall(streams.position(symbol))
        return {name.decode(): value.decode() for name, value in found.items()}

    def beat(self) -> dict[str, str]:
        found = self.db.hgetall(streams.heartbeat("positions", 0))
        return {name.decode(): value.decode() for name, value in found.items()}

    def findings(self) -> list[AuditFinding]:
        decode = codec.decoder(AuditFinding)
        rows = self.db.xrange(streams.AUDIT_FINDING.key)
        return [decode([part for pair in one.items() for part in pair]) for _, one in rows]


@pytest.fixture
def rig_of(valkey, world):
    made = []

    def build(**settings) -> Rig:
        made.append(Rig(valkey, world, **settings))
        return made[-1]

    yield build
    for one in made:
        one.http.close()


@pytest.fixture
def rig(rig_of):
    return rig_of()


def test_all_symbols_stand_there_after_one_signed_request(server, world):
    # Given both flavours of server, for the transaction's sake
    rig = Rig(server, world)
    before = int(time.time())
    assert rig.turn() == 2.0
    rig.http.close()
    # Then flat symbols are there as well, each as it was sent, with a lifetime
    short, flat = rig.position("BTCUSDT"), rig.position("ETHUSDT")
    stamp = short.pop("ts_epoch")
    assert before <= int(stamp) <= time.time()
    assert short == {
        "symbol": "BTCUSDT", "position_amt": "-1.500", "side": "SHORT", "quantity": "1.500",
        "entry_price": "90000.0", "mark_price": "91234.5", "current_price": "91234.5",
        "unrealized_pnl": "0.1", "leverage": "20", "source": "binance_position_risk",
    }  # fmt: skip
    assert (flat["side"], flat["position_amt"], flat["ts_epoch"]) == ("FLAT", "0.000", stamp)
    assert 3500 < rig.db.ttl(streams.position("BTCUSDT")) <= 3600
    # And the exchange was asked once for all of them, its clock once before
    assert (world.asked, world.times, world.wrong) == (1, 1, [])
    beat = rig.beat()
    assert (beat["role"], beat["symbols"], beat["state"]) == ("leader", "2", "ready")
    assert float(beat["last_fetch_age_s"]) >= 0


def test_age_is_counted_from_before_the_request(rig, world):
    # Given an exchange that takes its time
    def late(handler) -> None:
        time.sleep(1.2)  # the lateness itself
        answer(json.dumps(world.rows).encode())(handler)

    rig.turn()
    world.say = late
    asked = time.time()
    rig.turn()
    assert int(rig.position("BTCUSDT")["ts_epoch"]) <= asked


def test_symbol_that_is_not_in_the_answer_any_more_ages(rig, world):
    rig.turn()
    rig.db.hset(streams.position("ETHUSDT"), "ts_epoch", "1000")
    world.rows = [row("BTCUSDT", "2")]
    rig.turn()
    assert rig.position("ETHUSDT")["ts_epoch"] == "1000"
    assert rig.position("BTCUSDT")["position_amt"] == "2"


@pytest.mark.parametrize("ahead_s", [-3600.0, 3600.0])
def test_the_clock_of_the_exchange_counts(ahead_s, rig, world):
    # Given a clock of ours that is an hour off
    world.ahead_s = ahead_s
    rig.turn()
    assert rig.position("BTCUSDT")["position_amt"] == "-1.500"
    # When the offset changes, one refusal later it is measured anew
    world.ahead_s += 600
    assert rig.turn() == 2.0
    assert rig.beat()["failures"] == "1"
    rig.turn()
    assert (rig.beat()["failures"], world.times) == ("0", 2)


def test_the_clock_is_looked_at_every_half_hour(rig, world, monkeypatch):
    rig.turn()
    rig.turn()
    assert world.times == 1
    ahead = time.monotonic() + 1801
    monkeypatch.setattr(rig.clock, "monotonic_s", lambda: ahead)
    rig.turn()
    assert world.times == 2


def test_hedge_mode_is_denied_and_told_once_per_change(rig, rig_of, world):
    rig.turn()
    before = rig.position("BTCUSDT")
    sides = [row("BTCUSDT", "1", positionSide="LONG"), row("BTCUSDT", "-2", positionSide="SHORT")]
    world.rows = [*sides, row("ETHUSDT", "5")]
    rig.turn()
    rig.turn()
    # Then what stood there ages out, and the other symbol goes on
    assert rig.position("BTCUSDT") == before
    assert rig.position("ETHUSDT")["position_amt"] == "5"
    # And a restart tells nothing twice
    rig.lease.release()
    other = rig_of()
    other.turn()
    [finding] = other.findings()
    assert (finding.finding, finding.severity) == ("positions_hedge_mode", "critical")
    assert "BTCUSDT" in finding.detail
    world.rows = [row("BTCUSDT", "1")]
    other.turn()
    assert [one.severity for one in other.findings()] == ["critical", "info"]
    assert other.position("BTCUSDT")["position_amt"] == "1"


FAILURES = {
    "http_5xx": answer(b"<html>502</html>", 502, Content_Type="text/html"),
    "not_json": answer(b"<html>maintenance</html>", Content_Type="text/html"),
    "not_json: an error as a 200": refuse(-1000, "unknown", 200),
    "not_position_risk": answer(b'[{"symbol":'),
    "empty": answer(b"[]"),
    "redirect": answer(b"", 302, Location="http://elsewhere.example/"),
    "too_large": answer(b"[" + b" " * 300_000 + b"]"),
    "timeout": drip(b"[" * 400, 0.05, headers=False),
    "http_400": refuse(-1102, "Mandatory parameter was not sent."),
}


@pytest.mark.parametrize("what", FAILURES)
def test_failure_writes_nothing_and_is_told(what, rig_of, world):
    rig = rig_of(http_timeout_s=0.4, max_bytes=200_000)
    rig.turn()
    rig.db.hset(streams.position("BTCUSDT"), "ts_epoch", "1000")
    world.say = FAILURES[what]
    assert 0 < rig.turn() <= 2.0
    assert rig.position("BTCUSDT")["ts_epoch"] == "1000"
    assert rig.beat()["detail"].startswith(what.partition(":")[0])
    world.say = None
    rig.turn()
    assert rig.position("BTCUSDT")["ts_epoch"] != "1000"
    assert (rig.beat()["detail"], rig.beat()["failures"]) == ("2 symbols", "0")


@pytest.mark.parametrize(
    ("respond", "seconds"),
    [
        (refuse(-1003, "Too many requests", 429, Retry_After="7"), 7),
        (refuse(-1003, "banned", 418, Retry_After="300"), 300),
        (answer(b"", 429), 120),
        (answer(b"", 403), 600),
        (refuse(-2014, "API-key format invalid.", 401), 600),
        (refuse(-2015, "Invalid API-key, IP, or permissions for action.", 401), 600),
        (refuse(-1022, "Signature for this request is not valid."), 600),
        (refuse(-2015, "Invalid API-key, IP, or permissions for action.", 200), 600),
        (answer(b"", 503), 2),
    ],
)
def test_back_off_is_what_the_exchange_asks_for(respond, seconds, rig, world):
    world.say = respond
    assert rig.turn() == seconds


def test_refused_credentials_are_told_loudly_once(rig, world, log_lines):
    world.say = refuse(-2015, "Invalid API-key, IP, or permissions for action.", 401)
    for _ in range(3):
        rig.turn()
    lines = [json.loads(line) for line in log_lines.getvalue().splitlines()]
    told = [line for line in lines if line["event"] == "positions_not_fetched"]
    assert [(line["level"], line["code"], line["failures"]) for line in told] == [
        ("error", -2015, 1), ("error", -2015, 2),
    ]  # fmt: skip
    assert "refuses us" in rig.beat()["detail"]


def test_odd_answers_are_asked_for_ever_more_rarely(rig, world):
    world.say = FAILURES["http_400"]
    assert [rig.turn() for _ in range(7)] == [2, 4, 8, 16, 32, 60, 60]


def test_ban_outlives_a_restart_and_another_host_is_asked(rig, rig_of, world):
    world.say = refuse(-1003, "banned", 418, Retry_After="300")
    rig.turn()
    rig.lease.release()
    heir = rig_of()
    assert 290 < heir.turn() <= 300
    assert world.asked == 1
    heir.lease.release()
    elsewhere = rig_of(url=world.base.replace("127.0.0.1", "localhost"))
    elsewhere.turn()
    assert world.asked == 2


def test_one_fetches_the_other_stands_by_and_takes_over(rig, rig_of, world):
    other = rig_of()
    rig.turn()
    assert other.turn() <= 1.0
    assert world.asked == 1
    assert other.beat()["role"] == "standby" or rig.beat()["role"] == "leader"
    rig.lease.release()
    other.turn()
    assert world.asked == 2


def test_one_that_lost_its_lease_while_it_asked_writes_nothing(rig, rig_of, world):
    rig.turn()
    other = rig_of()

    # Given a leader that sleeps in its request while another takes over and writes
    def overtaken(handler) -> None:
        if world.asked == 2:
            rig.db.delete(streams.POSITIONS_LEASE)
            assert other.lease.acquire()
        answer(json.dumps([row("BTCUSDT", "7")]).encode())(handler)

    world.say = overtaken
    with pytest.raises(LostLeaseError):
        rig.turn()
    assert rig.position("BTCUSDT")["position_amt"] == "-1.500"


def test_lease_that_changes_hands_between_look_and_write_stops_the_write(rig, monkeypatch):
    from producers import position_store

    rig.turn()
    turn = position_store._turn

    def stolen(told, hedged):
        rig.store._db.set(streams.POSITIONS_LEASE, "another:9")
        return turn(told, hedged)

    monkeypatch.setattr(position_store, "_turn", stolen)
    rig.db.hset(streams.position("BTCUSDT"), "ts_epoch", "1000")
    with pytest.raises(LostLeaseError):
        rig.turn()
    assert rig.position("BTCUSDT")["ts_epoch"] == "1000"


@pytest.mark.parametrize("key", [streams.POSITIONS_HEDGED, streams.POSITIONS_BAN])
def test_own_key_of_another_type_stops_nothing(key, rig):
    rig.db.sadd(key, "nonsense")
    rig.turn()
    assert rig.position("BTCUSDT")["position_amt"] == "-1.500"


def test_position_key_of_another_type_is_replaced_and_named(rig, log_lines):
    rig.db.set(streams.position("BTCUSDT"), "nonsense")
    rig.turn()
    assert rig.position("BTCUSDT")["position_amt"] == "-1.500"
    assert rig.position("ETHUSDT")["position_amt"] == "0.000"
    assert rig.db.ttl(streams.position("BTCUSDT")) > 0
    assert "key_of_wrong_type_replaced" in log_lines.getvalue()


def test_hostile_symbols_make_no_keys(rig, world):
    world.rows += [row("B\x1b[2JUSDT"), row("../USDT"), row("BTCUSDC"), {"symbol": 5}, 7]
    rig.turn()
    keys = sorted(rig.db.keys(streams.position("*")))
    assert keys == [streams.position(one).encode() for one in ("BTCUSDT", "ETHUSDT")]


def echo(handler) -> None:
    """An answer of somebody who sends back whatever it was sent."""
    sent = (str(handler.headers) + handler.path).encode()
    answer(sent, 400, Content_Type=KEY)(handler)


ECHOES = {
    "refusal": echo,
    "redirect": answer(b"", 302, Location=f"https://x/{KEY}/{SECRET}"),
    "html": answer(b"<" + (KEY + SECRET).encode(), Content_Type=SECRET),
    "cut off": answer(b"x" * 100 + KEY.encode(), 400),
    "encoding": answer(b"", Content_Encoding=KEY),
    "error": refuse(-2015, f"key {KEY} is unknown", 401),
    "row": answer(json.dumps([row("BTCUSDT", KEY), row("ETHUSDT")]).encode()),
}


@pytest.mark.parametrize("what", ECHOES)
def test_no_answer_makes_the_credentials_show(what, rig, world, log_lines):
    world.say = ECHOES[what]
    rig.turn()
    told = log_lines.getvalue() + json.dumps(rig.beat())
    assert re.findall("(?i)canary|kkkkkk|ssssss", told) == []


class Running:
    """The program itself, as supervisord starts it."""

    def __init__(self, url: str, **environ: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", "producers", "positions"],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={
                "PATH": os.environ["PATH"], "REDIS_URL": url, "QUANTUM_ENV_DIR": "/nonexistent",
                "QUANTUM_LOG_LEVEL": "debug", "REDIS_TIMEOUT_SEC": "1", **environ,
            },
        )  # fmt: skip
        self.output = io.StringIO()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.output.write(line)

    def end(self, how: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait(10)
        self._reader.join(10)
        self.process.stdout.close()
        return code


def beat_of(db) -> dict[str, str]:
    found = db.hgetall(streams.heartbeat("positions", 0))
    return {name.decode(): value.decode() for name, value in found.items()}


def test_without_credentials_it_runs_and_says_so_and_stays_ready(valkey):
    db = valkey.connect()
    running = Running(valkey.url)
    try:
        beat = wait_until(lambda: beat_of(db), 15)
        assert (beat["role"], beat["state"], beat["detail"]) == ("off", "ready", OFF)
        # And ./run status shows it
        process = Process(
            name="positions", group="positions", state="RUNNING", pid=int(beat["pid"]), now=1000,
            started_at=900, said="", exit_status=0, command='"python" -m producers positions',
            priority=500, autostart=True, stop_wait_s=30, log="",
        )  # fmt: skip
        verdict = judge(
            process, beat, Sight(owned=True), host=beat["host"], now_ms=int(time.time() * 1000)
        )
        assert (verdict.ready, verdict.detail) == ("READY", OFF)
    finally:
        code = running.end()
    assert code == 0
    assert running.output.getvalue().count('"positions_off"') == 1
    assert db.keys("*") == []


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"BINANCE_API_KEY": KEY}, "BINANCE_API_SECRET: is missing"),
        ({"BINANCE_API_SECRET": SECRET}, "BINANCE_API_KEY: is missing"),
        ({"POSITIONS_URL": "http://fapi.binance.com"}, "in the clear"),
        ({"POSITIONS_MODE": "Testnet"}, "did you mean testnet?"),
        ({"BINANCE_API_KEY_FILE": "/nonexistent/k"}, "cannot be read"),
    ],
)
def test_wrong_settings_are_told_and_exit_78(environ, told, valkey):
    running = Running(valkey.url, **environ)
    assert running.process.wait(15) == 78
    running.end()
    assert told in running.output.getvalue()
    assert "CANARY" not in running.output.getvalue()


@pytest.mark.parametrize("say", [None, echo])
def test_no_output_of_the_program_shows_the_credentials(say, valkey, world):
    # Given a program at its most talkative, that meets success and a hostile exchange
    world.say = say
    running = Running(
        valkey.url, POSITIONS_URL=world.base, BINANCE_API_KEY=KEY, BINANCE_API_SECRET=SECRET,
        POSITIONS_REFRESH_SEC="0.2",
    )  # fmt: skip
    try:
        wait_until(lambda: world.asked >= 1 and beat_of(valkey.connect()), 15)
        if say is None:
            wait_until(lambda: world.asked >= 4, 10)
    finally:
        code = running.end()
    assert code == 0
    assert '"started"' in running.output.getvalue()
    db = valkey.connect()
    everything = running.output.getvalue() + repr([db.dump(key) for key in db.keys("*")])
    assert re.findall("(?i)canary|kkkkkk|ssssss", everything) == []


def test_killed_leader_is_followed_by_the_next_within_the_patience_of_p33(valkey, world):
    environ = {
        "POSITIONS_URL": world.base, "BINANCE_API_KEY": KEY, "BINANCE_API_SECRET": SECRET,
        "POSITIONS_REFRESH_SEC": "0.2", "POSITIONS_HTTP_TIMEOUT_SEC": "1",
    }  # fmt: skip
    db = valkey.connect()
    first = Running(valkey.url, **environ)
    wait_until(lambda: world.asked >= 2, 15)
    second = Running(valkey.url, **environ)
    try:
        wait_until(lambda: beat_of(db).get("role") == "standby", 15)
        lease = db.get(streams.POSITIONS_LEASE)
        first.end(signal.SIGKILL)
        at = time.monotonic()
        wait_until(lambda: db.get(streams.POSITIONS_LEASE) not in (None, lease), 10)
        # Two seconds of lease, one look a half second, and a busy machine
        assert time.monotonic() - at < 5
        asked = world.asked
        wait_until(lambda: world.asked > asked, 5)
    finally:
        second.end()
    assert db.get(streams.POSITIONS_LEASE) is None


def test_server_that_goes_away_is_waited_for_and_the_exchange_is_not_hammered(world):
    from tests.servers import Server

    server = Server("valkey", "--appendonly", "yes", "--appendfsync", "always")
    running = Running(
        server.url, POSITIONS_URL=world.base, BINANCE_API_KEY=KEY, BINANCE_API_SECRET=SECRET,
        POSITIONS_REFRESH_SEC="1",
    )  # fmt: skip
    try:
        wait_until(lambda: world.asked >= 1, 15)
        server.kill()
        wait_until(lambda: "redis_away" in running.output.getvalue(), 10)
        asked, at = world.asked, time.monotonic()
        server.start()
        wait_until(lambda: world.asked >= asked + 2, 15)
        assert world.asked - asked <= (time.monotonic() - at) / 0.9 + 1
        assert running.process.poll() is None
    finally:
        code = running.end()
        server.close()
    assert code == 0


def test_lease_outlasts_a_request_and_is_shorter_than_the_patience_of_p33():
    settings = PositionsSettings()
    assert settings.http_timeout_s * 1000 < program.lease_ms(settings) < 10_000


def test_stop_does_not_wait_for_an_answer_and_blames_nobody_for_it(valkey, world):
    running = Running(
        valkey.url, POSITIONS_URL=world.base, BINANCE_API_KEY=KEY, BINANCE_API_SECRET=SECRET,
        POSITIONS_REFRESH_SEC="0.2", POSITIONS_HTTP_TIMEOUT_SEC="20",
    )  # fmt: skip
    try:
        wait_until(lambda: world.asked >= 1, 15)
        world.say = drip(b"[" * 4000, 0.05, headers=False)
        asked = world.asked
        wait_until(lambda: world.asked > asked, 10)
    finally:
        at = time.monotonic()
        code = running.end()
    assert (code, time.monotonic() - at < 2) == (0, True)
    assert "positions_not_fetched" not in running.output.getvalue()
    assert valkey.connect().get(streams.POSITIONS_LEASE) is None


def test_frozen_leader_that_wakes_up_puts_nothing_old_back(valkey, world):
    environ = {
        "POSITIONS_URL": world.base, "BINANCE_API_KEY": KEY, "BINANCE_API_SECRET": SECRET,
        "POSITIONS_REFRESH_SEC": "0.2", "POSITIONS_HTTP_TIMEOUT_SEC": "1",
    }  # fmt: skip
    db = valkey.connect()
    first = Running(valkey.url, **environ)
    wait_until(lambda: world.asked >= 2, 15)
    second = Running(valkey.url, **environ)
    try:
        wait_until(lambda: beat_of(db).get("role") == "standby", 15)
        lease = db.get(streams.POSITIONS_LEASE)
        first.process.send_signal(signal.SIGSTOP)
        wait_until(lambda: db.get(streams.POSITIONS_LEASE) not in (None, lease), 10)
        world.rows = [row("BTCUSDT", "9")]
        wait_until(lambda: db.hget(streams.position("BTCUSDT"), "position_amt") == b"9", 10)
        heir = db.get(streams.POSITIONS_LEASE)
        first.process.send_signal(signal.SIGCONT)
        wait_until(lambda: "lease_lost" in first.output.getvalue(), 10)
        assert db.hget(streams.position("BTCUSDT"), "position_amt") == b"9"
        assert db.get(streams.POSITIONS_LEASE) == heir
    finally:
        first.process.send_signal(signal.SIGCONT)
        first.end()
        second.end()
