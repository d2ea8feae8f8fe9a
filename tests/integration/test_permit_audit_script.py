"""ops/permit_audit.sh: what an operator sees, with a set-up checkout and with redis-cli alone."""

from __future__ import annotations

import json
import re

import pytest

from tests.script_box import KINDS, ROOT, Box
from tests.servers import Server
from tests.silent import Silent

SCRIPT = "permit_audit.sh"
GOLDEN = ROOT / "tests" / "golden"


@pytest.fixture(params=KINDS)
def box(request, valkey, tmp_path):
    return Box(tmp_path, valkey.url, request.param)


def permit(db, key: str, value: str | bytes = "1", ttl_s: int = 60) -> None:
    db.set(f"quantum:permit:{key}", value, ex=ttl_s)


def complete(db) -> None:
    for prefix, count in (("", 15), ("p26:", 16), ("p33:", 16)):
        for number in range(count):
            permit(db, f"{prefix}plan{number}")


def test_three_kinds_give_the_frame_of_the_specification(box, valkey):
    complete(valkey.connect())
    done = box.run(SCRIPT)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (GOLDEN / "permit_audit.txt").read_text()


def test_nothing_there_is_exit_2_and_names_all_three(box):
    done = box.run(SCRIPT)
    assert (done.returncode, done.stderr) == (2, "")
    assert "STATUS: ❌ MISSING: GOVERNOR, P2.6, P3.3" in done.stdout
    assert "Total Permits: 0" in done.stdout


def test_plan_id_that_holds_another_gates_name_counts_for_its_own_gate(box, valkey):
    db = valkey.connect()
    permit(db, "plan:p26:1")
    permit(db, "xp33:1")
    done = box.run(SCRIPT, "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["missing"]) == (2, ["p26", "p33"])
    assert (told["governor"], told["p26"], told["p33"]) == (2, 0, 0)


def test_hash_under_a_permits_name_is_no_permit(box, valkey):
    db = valkey.connect()
    permit(db, "a")
    permit(db, "p26:a")
    db.hset("quantum:permit:p33:a", "allow", "true")
    done = box.run(SCRIPT)
    assert done.returncode == 2
    assert "P3.3 PERMITS:     0 keys" in done.stdout
    assert "NOT PERMITS:      1 keys of another type than STRING" in done.stdout
    assert "MISSING: P3.3" in done.stdout


HOSTILE = [
    b"\x1b[2J\x1b[1;1Hall is well", "\u202egnp.exe\u2066".encode(), b"two\nlines\r\n", b'a"b\\c',
    b"\xff\xfe\xc3(", b"", b"\x00", "€\U0001f600".encode(), b"x" * 5000, b"'; rm -rf /; '", b"%s%n",
    b"\xed\xa0\x80", b"\xe2\x82",
]  # fmt: skip


@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_value_is_shown_safely_and_the_json_holds(box, valkey, value):
    db = valkey.connect()
    db.set(b"quantum:permit:p33:" + value[:60], value)
    text = box.run(SCRIPT, "--sample", "3")
    assert text.returncode == 2
    assert all(line.isprintable() for line in text.stdout.split("\n"))
    assert len(text.stdout.split("\n")) == 13
    done = box.run(SCRIPT, "--sample=3", "--json")
    assert done.stdout.isascii()
    [sample] = json.loads(done.stdout)["samples"]
    assert sample["value"] == value[:4096].decode("utf-8", "backslashreplace")
    assert (sample["bytes"], sample["gate"], sample["ttl_ms"]) == (len(value), "p33", -1)


def test_json_has_the_fields_that_are_documented(box, valkey):
    db = valkey.connect()
    db.set("quantum:permit:harv_sol_001", '{"granted": true, "symbol": "SOLUSDT"}')
    db.set("quantum:permit:p26:harv_sol_001", "1")
    db.hset("quantum:permit:x", "a", "b")
    done = box.run(SCRIPT, "--json", "--sample", "2")
    told = json.loads(done.stdout)
    golden = json.loads((GOLDEN / "permit_audit.json").read_text())
    if box.kind != KINDS[0]:
        # Only the auditors' own rules judge; redis-cli alone does not.
        for sample in golden["samples"]:
            sample |= {"state": None, "problem": None}
    assert told == golden
    assert [list(one) for one in told["samples"]] == [list(one) for one in golden["samples"]]


def test_both_kinds_of_box_say_the_same(valkey, tmp_path):
    db = valkey.connect()
    complete(db)
    for number, value in enumerate(HOSTILE):
        db.set(f"quantum:permit:p33:hostile{number}", value)
        db.set(b"quantum:permit:" + value, value)
    boxes = [Box(tmp_path / str(number), valkey.url, kind) for number, kind in enumerate(KINDS)]
    full, bare = (json.loads(box.run(SCRIPT, "--json", "--sample", "100").stdout) for box in boxes)
    assert len(full["samples"]) > 40
    for told in (full, bare):
        for sample in told["samples"]:
            sample |= {"state": None, "problem": None, "ttl_ms": min(sample["ttl_ms"], 0)}
    assert full == bare


def test_pages_of_many_keys_are_counted_to_the_last(box, valkey):
    db = valkey.connect()
    with db.pipeline(transaction=False) as pipe:
        for number in range(7001):
            pipe.set(f"quantum:permit:{number}", 1)
            pipe.set(f"quantum:permit:p33:{number}", 1)
            pipe.set(f"other:{number}", 1)
        pipe.hset("quantum:permit:p26:odd", "a", "b")
        pipe.execute()
    told = json.loads(box.run(SCRIPT, "--json").stdout)
    counts = [told[name] for name in ("total", "governor", "p26", "p33", "other_type")]
    assert counts == [14002, 7001, 0, 7001, 1]


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["--bogus"], "unknown option '--bogus'"),
        (["status"], "unknown option 'status'"),
        (["--sample"], "--sample needs a value"),
        (["--sample", "--json"], "--sample needs a value"),
        (["--sample", "-1"], "--sample needs a value"),
        (["--sample=1e3"], "--sample '1e3': write a whole number from 0 to 1000"),
        (["--sample=99999999999999999999"], "from 0 to 1000"),
        (["--json=yes"], "unknown option '--json=yes'"),
        (["--\x1b[2J"], "unknown option '--?[2J'"),
        (["--remote"], "--remote needs a host"),
        (["--remote", "--host", "user@host"], "--remote needs a key"),
    ],
)
def test_misuse_is_exit_1_with_the_usage_on_stderr(box, argv, named):
    done = box.run(SCRIPT, *argv)
    assert (done.returncode, done.stdout) == (1, "")
    assert named in done.stderr
    assert "Usage: ops/permit_audit.sh [--sample N]" in done.stderr


def test_help_tells_the_exit_codes(box):
    done = box.run(SCRIPT, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Exit codes: 0 all three kinds are there; 2 one or more are missing; 1" in done.stdout


def test_server_that_is_away_is_an_error_and_never_missing(box, tmp_path):
    done = box.run(SCRIPT, REDIS_URL=f"unix://{tmp_path}/none")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.search("connect|unreachable", done.stderr)


@pytest.mark.parametrize("login", ["", ":wrong@", "nobody:wrong@"])
def test_refused_login_is_an_error_and_never_missing(box, locked, login):
    done = box.run(SCRIPT, REDIS_URL=locked.url.replace("unix://", f"unix://{login}"))
    assert (done.returncode, done.stdout) == (1, "")
    assert re.search("NOAUTH|WRONGPASS|[Aa]uthentication|password", done.stderr)


def test_silent_server_is_an_error_within_the_time_limit(box, tmp_path):
    with Silent(tmp_path / "silent") as silent:
        # No more tools than before, but for the one that limits time.
        done = box.run(SCRIPT, REDIS_URL=silent.url, REDIS_TIMEOUT_SEC="1",
                       PATH=box.environ["PATH"] + ":/usr/bin:/bin")  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")


def test_reader_without_any_right_to_write_is_enough(box):
    # Given a user that may only read
    server = Server("valkey")
    try:
        db = server.connect()
        complete(db)
        db.execute_command(
            "ACL", "SETUSER", "audit", "on", ">secret", "~quantum:*", "-@all", "+@read",
            "+eval_ro", "+ping", "+select", "+client", "+hello", "+auth", "+info", "+time",
        )  # fmt: skip
        done = box.run(SCRIPT, REDIS_URL=server.url.replace("unix://", "unix://audit:secret@"))
    finally:
        server.close()
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def locked():
    """A server with all three permits and a password."""
    server = Server("valkey")
    db = server.connect()
    complete(db)
    db.config_set("requirepass", "secret")
    yield server
    server.close()
