"""ops/proof_order_id.sh: what an operator sees, with a set-up checkout and with redis-cli alone."""

from __future__ import annotations

import itertools
import json
import re
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops import proof_view
from quantum_ops import streams
from quantum_ops.audit import proof_search
from tests.script_box import KINDS, ROOT, Box
from tests.waiting import wait_until

SCRIPT = "proof_order_id.sh"
GOLDEN = ROOT / "tests" / "golden"
RESULTS = streams.APPLY_RESULT.key
DETAILS = '{"side": "BUY", "order_id": 12345678, "qty": "0.5", "price": 125.45}'
LUA = "".join((ROOT / "ops" / "lib" / name).read_text() for name in ("text.lua", "proofs.lua"))


@pytest.fixture(params=KINDS)
def box(request, valkey, tmp_path):
    return Box(tmp_path, valkey.url, request.param)


@pytest.fixture
def client(valkey):
    made = valkey.connect()
    yield made
    made.close()


def result(db, plan_id: str, id_: str = "*", **fields) -> str:
    told = {"plan_id": plan_id, "symbol": "SOLUSDT", "executed": "true", **fields}
    return db.xadd(RESULTS, {name: value for name, value in told.items() if value is not None},
                   id=id_).decode()  # fmt: skip


def example(db) -> str:
    """The execution of the owner's specification."""
    return result(db, "harv_sol_001", "1738035441234-0", details=DETAILS, timestamp="1769527841.25")


def index(db, plan_id: str, **fields) -> None:
    told = {"entry_id": "1738035441234-0", "symbol": "SOLUSDT", "order_id": "12345678", **fields}
    db.hset(streams.proof_of_plan(plan_id), mapping=told)


def told(box, *argv: str) -> tuple[int, dict]:
    done = box.run(SCRIPT, "--json", *argv)
    assert (done.stderr, done.stdout.isascii()) == ("", True)
    return done.returncode, json.loads(done.stdout)


def test_proof_gives_the_frame_of_the_specification(box, valkey):
    # Given an older proof among results that prove nothing
    db = valkey.connect()
    example(db)
    for number in range(60):
        result(db, f"plan{number}", symbol="BTCUSDT")
    done = box.run(SCRIPT, "--symbol", "SOLUSDT", "--count", "50")
    assert (done.returncode, done.stderr) == (3, "")
    done = box.run(SCRIPT, "--symbol", "SOLUSDT", "--count", "61")
    assert (done.returncode, done.stderr) == (0, "")
    golden = (GOLDEN / "proof_order_id.txt").read_text()
    assert done.stdout == golden.replace("Searching 50", "Searching 61")


def test_json_has_the_fields_that_are_documented(box, valkey):
    example(valkey.connect())
    code, found = told(box, "--plan_id", "harv_sol_001", "--count", "100")
    assert (code, found) == (0, json.loads((GOLDEN / "proof_order_id.json").read_text()))


def test_nothing_executed_is_exit_3(box, valkey):
    db = valkey.connect()
    done = box.run(SCRIPT)
    assert done.returncode == 3
    assert "Searching 0 apply.result entries" in done.stdout
    result(db, "a", executed="False", order_id="77")
    result(db, "b", executed="false", error="no permit")
    done = box.run(SCRIPT, "--count=100000")
    assert (done.returncode, done.stderr) == (3, "")
    assert "Searching 2 apply.result entries" in done.stdout
    assert "❌ NO PROOF FOUND: nothing was executed" in done.stdout


@pytest.mark.parametrize("order", ["null", "None", " ", "0", "-1", "NaN"])
def test_word_for_nothing_is_no_order_id_and_the_entry_is_named(box, valkey, order):
    id_ = result(valkey.connect(), "a", order_id=order)
    done = box.run(SCRIPT)
    assert done.returncode == 3
    assert f"1 executed without an order_id, the newest of them {id_}" in done.stdout


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"order_id": "0123"}, "order_id"),
        ({"details": '{"order_id": "abc:1"}'}, "details"),
        ({"steps_results": '[{"order_id": 1}, {"order_id": 2, "side": "SELL"}, {}]'},
         "steps_results"),
    ],
)  # fmt: skip
def test_order_id_is_found_in_each_of_its_three_places(box, valkey, fields, where):
    result(valkey.connect(), "a", **fields)
    code, found = told(box)
    assert (code, found["proof"]["order_id_in"]) == (0, where)
    if where == "steps_results":
        assert (found["proof"]["order_id"], found["proof"]["side"]) == ("2", "SELL")


def test_plan_is_found_by_its_index_however_old(box, valkey):
    db = valkey.connect()
    example(db)
    for number in range(60):
        result(db, f"plan{number}")
    assert told(box, "--plan_id", "harv_sol_001")[0] == 3
    index(db, "harv_sol_001")
    code, found = told(box, "--plan_id", "harv_sol_001")
    assert (code, found["found_by"], found["searched"]) == (0, "index", 0)
    assert found["proof"]["price"] == "125.45"
    # And with another symbol it is another execution, which there is none of
    assert told(box, "--plan_id", "harv_sol_001", "--symbol", "BTCUSDT")[0] == 3


def test_trimmed_execution_is_proven_by_its_index_and_the_trim_is_told(box, valkey):
    db = valkey.connect()
    index(db, "old", executed_at="1769527841")
    code, found = told(box, "--plan_id", "old")
    assert (code, found["proof"]["entry"], found["proof"]["order_id"]) == (0, "trimmed", "12345678")
    assert found["proof"]["timestamp"] == "2026-01-27T15:30:41Z"


@pytest.mark.parametrize(
    "lie",
    [{"order_id": "null"}, {"order_id": ""}, {"entry_id": "x"}, {"entry_id": "9" * 30 + "-1"}],
    ids=str,
)
def test_index_that_is_no_proof_is_not_believed(box, valkey, lie):
    index(valkey.connect(), "old", **lie)
    assert told(box, "--plan_id", "old")[0] == 3


def test_index_that_the_entry_contradicts_is_not_believed(box, valkey):
    db = valkey.connect()
    index(db, "other", entry_id=example(db))
    assert told(box, "--plan_id", "other")[0] == 3
    index(db, "failed", entry_id=result(db, "failed", executed="false"))
    assert told(box, "--plan_id", "failed")[0] == 3


def test_index_of_another_type_is_an_error_and_never_missing(box, valkey):
    valkey.connect().set(streams.proof_of_plan("x"), "odd")
    done = box.run(SCRIPT, "--plan_id", "x")
    assert (done.returncode, done.stdout) == (1, "")
    assert "WRONGTYPE" in done.stderr


def test_stream_of_another_type_is_an_error_and_never_missing(box, valkey):
    valkey.connect().set(RESULTS, "odd")
    done = box.run(SCRIPT)
    assert (done.returncode, done.stdout) == (1, "")
    assert "WRONGTYPE" in done.stderr


def test_many_pages_are_read_to_the_last_entry(box, valkey):
    db = valkey.connect()
    example(db)
    with db.pipeline(transaction=False) as pipe:
        for number in range(2500):
            pipe.xadd(RESULTS, {"plan_id": number, "executed": "true", "symbol": "BTCUSDT"})
        pipe.execute()
    code, found = told(box, "--count", "2501", "--symbol", "SOLUSDT")
    assert (code, found["searched"]) == (0, 2501)
    code, found = told(box, "--count", "2500", "--symbol", "SOLUSDT")
    assert (code, found["searched"], found["executed"]) == (3, 2500, 0)


@pytest.mark.parametrize(
    "hostile",
    [
        {"symbol": "\x1b[2J", "order_id": "1"},
        {"plan_id": "x\nOrder ID:    99\n", "order_id": "1"},
        {"details": '{"order_id": 1, "side": "\\u202e\\ud800", "price": "\\u001b[31m"}'},
        {"details": '{"order_id": 5, "order_id": 6}'},
        {"details": "[" * 100_000},
        {"details": '{"order_id": ' + "9" * 5000 + "}"},
        {"symbol": b"\xff", "order_id": "1"},
        {"plan_id": "p" * 257, "order_id": "1"},
        {"plan_id": "é" * 256, "order_id": "1"},
        {"order_id": "1", "error": "x" * 262_144},
        {"order_id": "1", "timestamp": "1e99", "side": b"a\x00b"},
    ],
    ids=range(11),
)
def test_hostile_result_is_read_alike_on_both_kinds_of_box(valkey, tmp_path, hostile):
    db = valkey.connect()
    fields = {"plan_id": "a", "executed": "true", **hostile}
    db.xadd(RESULTS, fields)
    full, bare = (
        Box(tmp_path / str(number), valkey.url, kind) for number, kind in enumerate(KINDS)
    )
    done = full.run(SCRIPT)
    assert done.returncode in (0, 3)
    assert all(line.isprintable() for line in done.stdout.split("\n"))
    assert bare.run(SCRIPT).stdout == done.stdout
    assert told(full) == told(bare)


# What senders write, and what nobody should: mixed into entries that both readers must read alike.
_scalars = st.one_of(
    st.sampled_from(["null", "None", "true", " 7 ", "12345678", "-3", "0.0", "a b", "", "\u00a08",
                     "\u200b", "x" * 65, "A:1/2.3_-", "\u2003 9\u3000"]),
    st.text(max_size=12),
)  # fmt: skip
_numbers = st.one_of(
    st.integers(-5, 10**20).map(str),
    st.sampled_from(["1.0", "-0", "1e5", "1E-7", "0.50", "NaN", "Infinity", "-Infinity", "01", "+1",
                     "1.", ".5", "-", "9" * 4301]),
)  # fmt: skip
_json = st.recursive(
    st.one_of(
        _numbers,
        st.sampled_from(["null", "true", "false", "nul", '"\\u0041"', '"\\ud83d\\ude00"',
                         '"\\ud800x"', '"\\x"', '"\t"', '"a', "{}", "[]",
                         '{"a"}', "[1,]", '{"order_id": 4,}']),
        _scalars.map(json.dumps),
        _scalars.map(lambda text: json.dumps(text, ensure_ascii=False)),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: "[" + " , ".join(parts) + "]"),
        st.lists(
            st.tuples(
                st.sampled_from(["order_id", "order\\u005fid", "side", "filled_qty", "price"]),
                inner,
            ),
            max_size=4,
        ).map(lambda pairs: "{" + ",".join(f'"{name}"\n:{value}' for name, value in pairs) + "}"),
    ),
    max_leaves=6,
)  # fmt: skip
_documents = st.one_of(_json, st.just(""), _json.map(lambda text: text + " "), st.text(max_size=5))
_entries = st.lists(
    st.tuples(
        st.sampled_from(["plan_id", "executed", "symbol", "order_id", "details", "steps_results",
                         "timestamp", "side", "price", "quantity", "odd"]),
        st.one_of(
            _documents.map(lambda text: text.encode("utf-8", "surrogatepass")),
            st.sampled_from([b"true", b"TRUE", b"1", b"0", b"p", b"1769527841", b"1769527841000",
                             b"\xff", b"\xe2\x82", b"\xed\xa0\x80", b"a\x00b"]),
        ),
    ),
    max_size=6,
)  # fmt: skip


@settings(
    max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(_entries, _documents, _documents)
def test_lua_and_python_read_every_result_alike(client, entry, details, steps):
    # Given a result that means to be an execution, with anything on top
    db = client
    db.delete(RESULTS)
    flat = [b"plan_id", b"p", b"executed", b"true"]
    flat += [b"details", details.encode("utf-8", "surrogatepass")]
    flat += [b"steps_results", steps.encode("utf-8", "surrogatepass")]
    flat += [part for name, value in entry for part in (name.encode(), value)]
    # And the same without the names that it doubles
    single = dict(zip(flat[::2], flat[1::2], strict=True))
    db.execute_command("XADD", RESULTS, "*", *flat)
    db.execute_command("XADD", RESULTS, "*", *[part for pair in single.items() for part in pair])
    sought = [("", ""), ("", "p"), ("null", ""), ("true", "p"), ("", "true")]
    for count, (symbol, plan_id) in itertools.product((2, 1), sought):
        wanted = proof_search.Wanted(symbol.encode(), plan_id.encode())
        search = proof_search.by_stream(db, wanted, count)
        reply = db.execute_command("EVAL_RO", LUA, 0, "back", "+", count, symbol, plan_id)
        found = json.loads(proof_view.as_json(search))
        assert reply[:4] == [search.searched, reply[1], search.executed, search.without]
        assert (reply[4].decode() or None) == found["newest_without_order_id"]
        assert (json.loads(reply[6]) if len(reply) > 6 else None) == found["proof"]
        if search.proof:
            assert reply[7].decode() in proof_view.as_text(search)


def test_results_of_any_layout_are_passed_over_one_by_one(box, valkey):
    # Given the wanted plan among neighbours whose fields stand in other places, or twice
    db = valkey.connect()

    def add(*flat: str) -> None:
        db.execute_command("XADD", RESULTS, "*", *flat)

    add("plan_id", "w", "symbol", "AUSDT", "executed", "true", "order_id", "7")
    add("symbol", "w", "plan_id", "other", "executed", "true", "order_id", "1")
    add("order_id", "plan_id", "executed", "true", "plan_id", "x", "symbol", "AUSDT")
    add("plan_id", "x", "plan_id", "w", "executed", "true", "order_id", "2")
    add("executed", "true", "order_id", "plan_id", "w", "3", "symbol", "plan_id")
    add("plan_id", "w", "symbol", "BUSDT", "executed", "true", "order_id", "null")
    add("plan_id", "x", "symbol", "AUSDT", "executed", "true", "order_id", "4")
    done = box.run(SCRIPT, "--json", "--plan_id", "w")
    found = json.loads(done.stdout)
    assert (done.returncode, found["proof"]["order_id"]) == (0, "7")
    assert (found["searched"], found["executed"], found["without_order_id"]) == (7, 2, 1)
    found = json.loads(box.run(SCRIPT, "--json", "--symbol", "BUSDT").stdout)
    assert (found["searched"], found["executed"], found["proof"]) == (7, 1, None)
    found = json.loads(box.run(SCRIPT, "--json", "--symbol", "AUSDT", "--plan_id", "x").stdout)
    assert (found["searched"], found["proof"]["order_id"]) == (1, "4")


def test_follow_waits_for_the_proof_and_no_longer(box, valkey):
    db = valkey.connect()
    result(db, "early", order_id="null")
    running = box.start(SCRIPT, "--follow", "--timeout", "30", "--symbol", "BTCUSDT", "--json")
    wait_until(
        lambda: any(client["cmd"] in ("xread", "xrange") for client in db.client_list()),
        20,
        "waits",
    )
    result(db, "other", order_id="5")
    result(db, "late", order_id="6", symbol="BTCUSDT")
    out, err = running.communicate(timeout=20)
    assert (running.returncode, err) == (0, "")
    assert json.loads(out)["proof"]["plan_id"] == "late"


def test_follow_ends_with_3_when_its_time_is_over(box, valkey):
    result(valkey.connect(), "early", order_id="null")
    started = time.monotonic()
    done = box.run(SCRIPT, "--follow", "--timeout", "1")
    assert done.returncode == 3
    assert time.monotonic() - started >= 1
    assert "1 executed without an order_id" in done.stdout


def test_follow_tells_at_once_what_is_there_already(box, valkey):
    example(valkey.connect())
    assert box.run(SCRIPT, "--follow", "--timeout", "86400").returncode == 0


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["--bogus"], "unknown option '--bogus'"),
        (["--count", "0"], "--count '0': write a whole number from 1 to 100000000"),
        (["--count", "many"], "--count 'many'"),
        (["--count"], "--count needs a value"),
        (["--symbol="], "--symbol is empty"),
        (["--timeout", "0"], "--timeout '0'"),
        (["--remote", "--host", "h"], "--remote needs a key"),
    ],
)
def test_misuse_is_exit_1_with_the_usage_on_stderr(box, argv, named):
    done = box.run(SCRIPT, *argv)
    assert (done.returncode, done.stdout) == (1, "")
    assert named in done.stderr
    assert "Usage: ops/proof_order_id.sh [--count N]" in done.stderr


def test_server_that_is_away_is_an_error_and_never_missing(box, tmp_path):
    done = box.run(SCRIPT, REDIS_URL=f"unix://{tmp_path}/none")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.search("connect|unreachable", done.stderr)


def test_plan_id_of_any_bytes_is_looked_for_as_it_is(box, valkey):
    db = valkey.connect()
    odd = "a'; touch /tmp/x; \" $(id) \n *"
    result(db, odd, order_id="5")
    code, found = told(box, f"--plan_id={odd}")
    assert (code, found["proof"]["plan_id"]) == (0, odd)
    assert told(box, "--plan_id=\udcff")[0] == 3
