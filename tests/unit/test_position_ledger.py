"""What results of the trading side leave beside a symbol's ledger, each as a story."""

from __future__ import annotations

import fakeredis
import pytest
import walrus
from hypothesis import given
from hypothesis import strategies as st

from consumers.position_ledger import position_ledger
from quantum_ops import streams
from quantum_ops.testing import drive

KEY = streams.position_ledger("BTCUSDT")
AMOUNTS = {"ledger_amt": "1.5", "last_known_amt": "1.5", "position_amt": "1.5", "updated_at": "7"}


def fresh():
    pool = fakeredis.FakeRedis(server=fakeredis.FakeServer(version=(7,)), protocol=2)
    return walrus.Database(connection_pool=pool.connection_pool)


def wire(**fields: str) -> list[bytes]:
    """A result as the executor sends it."""
    sent = {"plan_id": "p1", "executed": "true", "symbol": "BTCUSDT", "order_id": "11",
            "timestamp": "1795000000", **fields}  # fmt: skip
    return [part.encode() for pair in sent.items() for part in pair]


def ledger(db, key: str = KEY) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in db.hgetall(key).items()}


def after(*results: list[bytes], db=None):
    db = db if db is not None else fresh()
    driven = drive(position_ledger, results, db=db)
    assert driven.pending == 0
    return db, driven


@pytest.mark.parametrize("executed", ["true", "True"])
@pytest.mark.parametrize(
    "where",
    [
        {"order_id": "42"},
        {"order_id": "null", "details": '{"order_id": 42, "side": "BUY"}'},
        {"order_id": "", "steps_results": '[{"step": "CLOSE", "order_id": "42"}]'},
    ],
)
def test_order_is_noted_beside_the_amounts_which_stay_as_they_are(executed, where):
    db = fresh()
    db.hset(KEY, mapping=AMOUNTS)
    after(wire(executed=executed, **where), db=db)
    found = ledger(db)
    assert found.pop("last_result_id")
    assert found == {
        **AMOUNTS, "last_order_id": "42", "last_plan_id": "p1", "last_result_at": "1795000000",
        "metadata_source": "quantum_ops",
    }  # fmt: skip
    # And no expiry: a ledger that is gone would switch checks off
    assert db.ttl(KEY) == -1


@pytest.mark.parametrize(
    "result",
    [
        wire(executed="false"), wire(executed="False"), wire(order_id="0"), wire(order_id="None"),
        wire(symbol=""), wire(symbol="BTCUSDC"), wire(symbol="btcusdt"), wire(symbol="*USDT"),
        wire(symbol="A\nBCUSDT"), wire(symbol="BTCUSDT\n"), wire(symbol="A:B:BTCUSDT"),
    ],
    ids=range(11),
)  # fmt: skip
def test_what_was_not_executed_or_is_odd_changes_nothing(result):
    db, driven = after(result)
    assert db.keys("*") == []
    assert driven.dead_letters == []


@pytest.mark.parametrize(
    "flat",
    [
        wire(executed="maybe"), wire(executed=""), wire() + wire()[:2],
        [b"plan_id", b"p1", b"executed", b"true", b"symbol", b"\xff"],
        [b"executed", b"true"], wire(plan_id=""),
    ],
    ids=range(6),
)  # fmt: skip
def test_undecodable_result_is_buried_and_the_next_is_noted(flat):
    db, driven = after(flat, wire(order_id="12"))
    assert [letter.reason for letter in driven.dead_letters] == ["undecodable"]
    assert ledger(db)["last_order_id"] == "12"


def test_results_of_one_batch_leave_the_last_one():
    db, _ = after(wire(order_id="1"), wire(order_id="2", plan_id="p2"), wire(order_id="3"))
    assert ledger(db)["last_order_id"] == "3"


def test_older_result_that_comes_late_does_not_put_its_order_back():
    db, _ = after(wire(order_id="2"))
    newer = ledger(db)["last_result_id"]
    milliseconds, sequence = newer.split("-")
    # Given a newer result that another process has noted meanwhile
    for later in (f"{milliseconds}0-0", f"{int(milliseconds) + 60_000}-{sequence}"):
        db.hset(KEY, mapping={"last_result_id": later, "last_order_id": "9"})
        after(wire(order_id="1"), db=db)
        assert ledger(db)["last_order_id"] == "9"


@pytest.mark.parametrize("damaged", ["", "x", "1-", "-", "9999999999999999", "1-1 "])
def test_damaged_note_is_written_over(damaged):
    db = fresh()
    db.hset(KEY, mapping={"last_result_id": damaged, "last_order_id": "9"})
    after(wire(order_id="1"), db=db)
    assert ledger(db)["last_order_id"] == "1"


def test_key_of_another_type_goes_to_the_dead_letter_and_stops_nobody():
    db = fresh()
    db.set(KEY, "nonsense")
    _, driven = after(wire(), wire(symbol="ETHUSDT", order_id="5"), db=db)
    assert [letter.reason for letter in driven.dead_letters] == ["handler_failed"]
    assert ledger(db, streams.position_ledger("ETHUSDT"))["last_order_id"] == "5"
    assert db.get(KEY) == b"nonsense"


@pytest.mark.parametrize("stamp", ["", "now", "x" * 200, "\x1b[2J", "1795000000\n"])
def test_result_without_a_usable_time_has_the_time_of_its_entry(stamp):
    db, _ = after(wire(timestamp=stamp))
    assert float(ledger(db)["last_result_at"]) > 1_600_000_000


@pytest.mark.parametrize("stamp", ["1795000000.25", "2026-11-24T08:26:29.123Z", "1795000000123"])
def test_time_of_a_result_is_kept_as_it_was_written(stamp):
    db, _ = after(wire(timestamp=stamp))
    assert ledger(db)["last_result_at"] == stamp


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
)
def test_no_text_makes_a_key_that_is_no_symbol_s_or_touches_amounts(symbol, order, details):
    db, _ = after(wire(symbol=symbol, order_id=order, details=details))
    for key in db.keys("*"):
        assert key == streams.position_ledger(symbol).encode()
        assert not ledger(db, key.decode()).keys() & AMOUNTS.keys()
