"""The universe producer against answers and keys that nobody would send on purpose."""

from __future__ import annotations

import gzip
import json
import time

import pytest

from quantum_ops import client, streams
from quantum_ops.settings import RedisSettings
from quantum_ops.universe import load_universe
from tests.exchange import SIX, Respond, answer, body, row
from tests.proxy import Proxy
from tests.universe_rig import Rig


@pytest.fixture
def rig(valkey, exchange):
    made = Rig(valkey, exchange, http_timeout_s=0.5, max_bytes=1_000_000)
    yield made
    made.http.close()


def raw(content: bytes, pause_s: float = 0.0) -> Respond:
    """These bytes instead of a response, then (after ``pause_s``) a cut line."""

    def respond(handler) -> None:
        handler.wfile.write(content)
        handler.wfile.flush()
        time.sleep(pause_s)  # the silence itself
        handler.close_connection = True

    return respond


JUNK = {
    "connection: a redirect to nowhere": answer(b"", 302, Location="http://[::1"),
    "http_429 with a date beyond all calendars": answer(
        b"", 429, Retry_After="Thu, 01 Jan 99999999999999999999 00:00:00 GMT"
    ),
    "http_429 with a body that is no gzip": answer(b"slow down", 429, Content_Encoding="gzip"),
    "http_418 whose body never comes": raw(
        b"HTTP/1.1 418 I'm a teapot\r\nContent-Length: 90\r\nRetry-After: 300\r\n\r\n{", 2.0
    ),
    "http_429 whose body breaks off": raw(b"HTTP/1.1 429 Slow\r\nContent-Length: 90\r\n\r\n{"),
    "connection: two lengths": raw(
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nContent-Length: 5\r\n\r\n{}"
    ),
    "connection: no HTTP": raw(b"\xff\xfe\x00 SSH-2.0\r\n"),
    "connection: endless headers": raw(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n{}"),
    "connection: a bad chunk": raw(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n{}\r\n"
    ),
    "not_json: bad gzip": answer(b"\x1f\x8b no gzip at all", Content_Encoding="gzip"),
    "not_json: gzip in gzip": answer(
        gzip.compress(gzip.compress(b"{" + b" " * 9_000_000)), Content_Encoding="gzip, gzip"
    ),
    "too_many": answer(body(*SIX, *(f"S{n:04d}USDT" for n in range(900)))),
}


@pytest.mark.parametrize("what", JUNK)
def test_no_answer_stops_the_producer_or_hides_what_the_exchange_said(what, rig, exchange):
    # Given a universe, when the exchange sends this
    rig.turn()
    exchange.respond = JUNK[what]
    rig.turn()
    # Then it is flagged with its own reason, and the next good answer makes it fresh
    kind = what.split(":")[0].split(" ")[0]
    assert (rig.meta()["stale"], rig.meta()["error"].split(":")[0]) == ("1", kind)
    assert rig.active()["symbols"] == SIX
    exchange.respond = answer(body(*SIX))
    rig.turn()
    assert rig.meta()["stale"] == "0"


def test_rate_limit_that_drips_is_left_alone_as_long_as_it_asks(rig, exchange):
    exchange.respond = JUNK["http_418 whose body never comes"]
    assert rig.turn() == 300


@pytest.mark.parametrize("asked", ["999999999", "9" * 400])
def test_no_header_parks_the_producer_for_ever(asked, rig, exchange):
    exchange.respond = answer(b"", 429, Retry_After=asked)
    assert rig.turn() == 3 * 86_400


@pytest.mark.parametrize(
    "bad",
    [
        row("BADUSDT", deliveryDate=10**400),
        row("BADUSDT", onboardDate=-1),
        row("X" * 100_000),
        *([row(f"{number}" + "x" * 3000) for number in range(120)],),
    ],
    ids=["huge date", "date before time", "long name", "many long names"],
)
def test_no_row_stops_the_producer(bad, rig, exchange):
    rows = bad if isinstance(bad, list) else [bad]
    exchange.respond = answer(body(*SIX, *rows))
    rig.turn()
    assert rig.active()["symbols"] == SIX
    assert rig.meta()["quarantined"] == str(len(rows))
    [event] = rig.changes()
    assert event.quarantined


def test_change_of_everything_is_one_event_that_leaves_details_out(rig, exchange):
    # Given as many symbols as may be, when every attribute of each changes to something long
    names = [f"SYMBOL{number:04d}USDT" for number in range(790)]
    exchange.respond = answer(body(*names))
    rig.turn()
    rows = [row(name, deliveryDate=4133404800001, onboardDate=1) for name in names]
    for one in rows:
        for size in one["filters"]:
            size |= {key: "0.00000000000000000123" for key in size if key != "filterType"}
    exchange.respond = answer(body(*rows))
    rig.turn()
    # Then the event stands, complete in its symbols, and the attributes are in the hash
    event = rig.changes()[-1]
    assert (event.epoch, event.count, len(event.symbols), event.changed) == (2, 790, 790, {})
    assert rig.rows()[names[0]]["tick_size"] == "0.00000000000000000123"


DAMAGE = {
    "a row that is no JSON": lambda db: db.hset(streams.UNIVERSE_SYMBOLS, "BTCUSDT", "no json"),
    "a row that is a list": lambda db: db.hset(streams.UNIVERSE_SYMBOLS, "BTCUSDT", "[1]"),
    "a row that is no text": lambda db: db.hset(streams.UNIVERSE_SYMBOLS, "BTCUSDT", b"\xff"),
    "rows gone": lambda db: db.delete(streams.UNIVERSE_SYMBOLS),
    "document gone": lambda db: db.delete(streams.UNIVERSE_ACTIVE),
    "document no JSON": lambda db: db.set(streams.UNIVERSE_ACTIVE, b"\xff{"),
    "epoch no number": lambda db: db.hset(streams.UNIVERSE_META, "epoch", b"\xff\xfe"),
    "epoch of many digits": lambda db: db.hset(streams.UNIVERSE_META, "epoch", "9" * 5000),
    "epoch gone": lambda db: db.hdel(streams.UNIVERSE_META, "epoch"),
    "hash wrong": lambda db: db.hset(streams.UNIVERSE_META, "symbols_sha256", "0" * 64),
    "held no JSON": lambda db: db.set(streams.UNIVERSE_HELD, b"\xff["),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damaged_key_is_put_back_without_an_event(what, rig):
    rig.turn()
    rows, meta = rig.rows(), rig.meta()
    DAMAGE[what](rig.db)
    rig.turn()
    assert (rig.active()["symbols"], rig.rows()) == (SIX, rows)
    after = rig.meta()
    assert {k: after[k] for k in ("epoch", "sha256", "symbols_sha256", "stale")} == {
        k: meta[k] for k in ("epoch", "sha256", "symbols_sha256", "stale")
    }
    assert len(rig.changes()) == 1
    assert load_universe(rig.db, now_s=time.time(), attributes=True).status == "fresh"


@pytest.mark.parametrize("what", DAMAGE)
def test_damaged_key_meets_a_change_of_the_universe(what, rig, exchange):
    rig.turn()
    DAMAGE[what](rig.db)
    exchange.respond = answer(body(*SIX, "NEWUSDT"))
    rig.turn()
    event = rig.changes()[-1]
    assert (event.epoch, event.added, event.removed) == (2, ("NEWUSDT",), ())
    assert load_universe(rig.db, now_s=time.time(), attributes=True).status == "fresh"


def test_churn_guard_is_not_blind_because_the_document_is_gone(valkey, exchange):
    rig = Rig(valkey, exchange, max_removed=1, max_removed_pct=20)
    rig.turn()
    rig.db.delete(streams.UNIVERSE_ACTIVE)
    exchange.respond = answer(body("BTCUSDT"))
    rig.turn()
    rig.http.close()
    assert rig.meta()["error"].startswith("churn guard: 5 of 6")
    assert rig.active()["symbols"] == SIX


@pytest.mark.parametrize("nth", range(1, 8))
def test_lost_reply_anywhere_in_a_turn_makes_no_second_event(nth, valkey, exchange):
    # Given a line on which the nth reply is lost after the server did its work
    replies = iter(range(1, 1000))
    proxy = Proxy(valkey.socket, lambda: "drop" if next(replies) == nth else "")
    rig = Rig(valkey, exchange, through=client.connect(RedisSettings(url=proxy.url)))
    try:
        for _ in range(3):
            try:
                rig.turn()
            except client.TRANSPORT_ERRORS:
                continue
        # Then the change is told exactly once and the universe is fresh
        assert proxy.dropped == 1
        assert [event.epoch for event in rig.changes()] == [1]
        assert load_universe(rig.db, now_s=time.time()).status == "fresh"
        assert json.loads(rig.db.get(streams.UNIVERSE_LAST_OK))["symbols"] == SIX
    finally:
        rig.http.close()
        proxy.close()


@pytest.mark.parametrize("nasty", ['["a",[],Infinity]', "[" * 100_000, "[1]", "\x00", "{}"])
def test_held_and_active_keys_of_a_stranger_stop_no_turn(nasty, rig):
    rig.turn()
    rig.db.set(streams.UNIVERSE_HELD, nasty)
    rig.db.set(streams.UNIVERSE_ACTIVE, nasty)
    rig.turn()
    assert rig.active()["symbols"]
    assert rig.meta()["stale"] == "0"
