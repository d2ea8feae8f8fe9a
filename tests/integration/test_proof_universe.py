"""ops/proof_universe.sh and ./run universe: what an operator sees, on every kind of box."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import unicodedata
import urllib.parse

import pytest

from ops.__main__ import main
from producers import cycle
from producers.exchange_info import read
from producers.universe_store import Store
from quantum_ops import streams
from quantum_ops.settings import UniverseSettings
from tests.contract.reference import ROOT
from tests.exchange import body, row
from tests.servers import Server

SCRIPT = ROOT / "ops" / "proof_universe.sh"
TOOLS = [
    "bash",
    "sh",
    "sed",
    "tr",
    "wc",
    "cut",
    "date",
    "awk",
    "sort",
    "head",
    "printf",
    "timeout",
    "sha256sum",
    "dirname",
    "cat",
    "env",
    "grep",
]
CLI = shutil.which("redis-cli")
SETTINGS = UniverseSettings()


def publish(db, *names: str, now_s: float | None = None) -> None:
    """Publish a universe as the producer does."""
    store = Store(db, 60_000, owner="test")
    store.lease.acquire()
    now_s = time.time() if now_s is None else now_s
    rows = names or ("BTCUSDT", "ETHUSDT", "SOLUSDT")
    published = store.read()
    store.commit(
        published, cycle.after_body(published, read(body(*rows), SETTINGS, now_s), SETTINGS, now_s)
    )


@pytest.fixture(params=["redis-cli and jq", "redis-cli alone", "no redis-cli"])
def box(request, tmp_path):
    """A PATH with just these tools."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        if found:
            (folder / tool).symlink_to(found)
    wanted = {"redis-cli and jq": ("redis-cli", "jq"), "redis-cli alone": ("redis-cli",)}
    for tool in wanted.get(request.param, ()):
        found = shutil.which(tool)
        if not found:
            if os.environ.get("CI"):
                pytest.fail(f"CI installs {tool} first")
            pytest.skip(f"no {tool} here (apt-get install redis-tools jq)")
        (folder / tool).symlink_to(found)
    home = tmp_path / "home"
    (home / "venv" / "bin").mkdir(parents=True)
    python = home / "venv" / "bin" / "python"
    # A link would lose the virtual environment that it stands in.
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    return {"PATH": str(folder), "QUANTUM_HOME": str(home), "QUANTUM_ENV_DIR": str(tmp_path),
            "LANG": "C.UTF-8"}  # fmt: skip


def proof(box, url: str, *argv: str) -> subprocess.CompletedProcess[str]:
    environment = {**box, "REDIS_URL": url} if url else box
    return subprocess.run(
        ["bash", str(SCRIPT), *argv], env=environment, text=True, capture_output=True, check=False
    )


def test_fresh_universe(box, valkey):
    publish(valkey.connect())
    done = proof(box, valkey.url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "STATUS: ✅ FRESH" in done.stdout
    assert "Symbols:      3" in done.stdout
    assert "First:        BTCUSDT ETHUSDT SOLUSDT" in done.stdout
    told = json.loads(proof(box, valkey.url, "--json").stdout)
    assert (told["status"], told["count"], told["epoch"], told["mode"]) == (
        "fresh",
        3,
        1,
        "testnet",
    )


def test_flagged_stale(box, valkey):
    db = valkey.connect()
    publish(db)
    db.hset(streams.UNIVERSE_META, mapping={"stale": "1", "error": "http_5xx: HTTP 503"})
    done = proof(box, valkey.url)
    assert done.returncode == 2
    assert "flagged: http_5xx" in done.stdout


def test_dead_producer_is_stale_by_age(box, valkey):
    publish(valkey.connect(), now_s=time.time() - 181)
    done = proof(box, valkey.url)
    assert done.returncode == 2
    assert "the producer is dead" in done.stdout


def test_clock_of_the_future_is_stale(box, valkey):
    publish(valkey.connect(), now_s=time.time() + 500)
    assert proof(box, valkey.url).returncode == 2


def test_missing_universe(box, valkey):
    done = proof(box, valkey.url)
    assert done.returncode == 1
    assert "❌ MISSING" in done.stdout


@pytest.mark.parametrize(
    "damage",
    [
        lambda db: db.hset(streams.UNIVERSE_META, "count", "7"),
        lambda db: db.hset(streams.UNIVERSE_META, "symbols_sha256", "0" * 64),
        lambda db: db.set(streams.UNIVERSE_ACTIVE, "no json"),
        lambda db: db.hdel(streams.UNIVERSE_META, "stale"),
    ],
)
def test_keys_that_contradict_each_other_are_never_fresh(box, valkey, damage):
    db = valkey.connect()
    publish(db)
    damage(db)
    assert proof(box, valkey.url).returncode == 2


def test_server_that_is_down_is_an_error_and_never_missing(box, tmp_path):
    done = proof(box, f"unix://{tmp_path}/none")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr


def test_key_of_another_type_is_an_error_and_never_missing(box, valkey):
    valkey.connect().set(streams.UNIVERSE_META, "a string")
    done = proof(box, valkey.url)
    assert (done.returncode, done.stdout) == (1, "")
    assert "WRONGTYPE" in done.stderr


@pytest.fixture
def locked():
    """A server with a fresh universe and a password that an address must quote."""
    server = Server("valkey")
    db = server.connect()
    publish(db)
    db.config_set("requirepass", SECRET)
    yield server
    server.close()


SECRET = r"ri%ght\n@:/?"
QUOTED = urllib.parse.quote(SECRET, safe="")


@pytest.mark.parametrize("login", ["", ":wrong@", "nobody:wrong@"])
def test_refused_login_is_an_error_and_never_missing(box, locked, login):
    done = proof(box, locked.url.replace("unix://", f"unix://{login}"))
    assert (done.returncode, done.stdout) == (1, "")
    assert re.search("NOAUTH|WRONGPASS|[Aa]uthentication|password", done.stderr)


@pytest.mark.parametrize(
    "spelling",
    [
        "unix://:{password}@{socket}",
        "unix://default:{password}@{socket}?db=0",
        "unix://{socket}?password={password}",
    ],
)
def test_password_in_an_address_is_understood_and_stands_in_no_argument_list(
    box, locked, spelling, tmp_path
):
    # Given a redis-cli that tells how it was called
    spy = tmp_path / "bin" / "redis-cli"
    if spy.exists():
        spy.unlink()
        spy.write_text(f'#!/bin/sh\necho "$*" >>{tmp_path}/calls\nexec {CLI} "$@"\n')
        spy.chmod(0o755)
    # When the script is given the password
    done = proof(box, spelling.format(password=QUOTED, socket=locked.socket))
    # Then it gets in, and ps would not have shown how
    assert done.returncode == 0, done.stderr
    if spy.exists():
        calls = (tmp_path / "calls").read_text(encoding="utf-8")
        assert str(locked.socket) in calls
        assert SECRET not in calls
        assert QUOTED not in calls


def test_server_that_hangs_is_an_error_within_seconds(box, valkey):
    publish(valkey.connect())
    valkey.process.send_signal(signal.SIGSTOP)
    try:
        done = proof({**box, "REDIS_TIMEOUT_SEC": "1"}, valkey.url)
    finally:
        valkey.process.send_signal(signal.SIGCONT)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr


@pytest.mark.parametrize("box", ["redis-cli alone"], indirect=True)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        # Wraps round to a good age in 64 bits
        pytest.param("checked_epoch", str(2**64 + int(time.time())), id="wraps"),
        ("checked_epoch", "08"),
        ("checked_epoch", "soon"),
        ("refresh_sec", "9" * 30),
        ("refresh_sec", "1e9"),
        ("stale", "0\n0"),
        ("mode", "testnet\n"),
    ],
)
def test_numbers_that_are_none_are_never_fresh(box, valkey, name, value):
    db = valkey.connect()
    publish(db, now_s=time.time() - 1000 if name == "refresh_sec" else None)
    db.hset(streams.UNIVERSE_META, name, value)
    done = proof(box, valkey.url, "--json")
    assert (done.returncode, done.stderr) == (2, "")
    assert json.loads(done.stdout)["status"] == "stale"


def test_empty_document_is_stale_and_lost_meta_too(box, valkey):
    db = valkey.connect()
    publish(db)
    db.set(streams.UNIVERSE_ACTIVE, "")
    assert proof(box, valkey.url).returncode == 2
    publish(db)
    db.delete(streams.UNIVERSE_META)
    done = proof(box, valkey.url)
    assert done.returncode == 2
    assert "meta is missing" in done.stdout


@pytest.mark.parametrize("box", ["redis-cli and jq"], indirect=True)
def test_commit_between_the_two_reads_is_no_contradiction(box, valkey, tmp_path):
    # Given a redis-cli after whose first GET the producer publishes another universe
    db = valkey.connect()
    publish(db, now_s=time.time() - 5)
    before = db.get(streams.UNIVERSE_ACTIVE)
    publish(db, "BTCUSDT", "XRPUSDT")
    (tmp_path / "before").write_bytes(before)
    spy = tmp_path / "bin" / "redis-cli"
    spy.unlink()
    spy.write_text(
        f"""#!/bin/sh
case "$*" in *" GET "*) [ -e {tmp_path}/before ] && cat {tmp_path}/before && echo &&
    mv {tmp_path}/before {tmp_path}/told && exit ;; esac
exec {CLI} "$@"
"""
    )
    spy.chmod(0o755)
    # When the proof is made
    done = proof({**box, "PATH": f"{box['PATH']}:/usr/bin:/bin"}, valkey.url)
    # Then it has looked again
    assert (tmp_path / "told").exists()
    assert done.returncode == 0, done.stdout
    assert "XRPUSDT" in done.stdout


@pytest.mark.parametrize("box", ["redis-cli and jq"], indirect=True)
def test_redis_cli_of_before_version_7_is_left_alone(box, valkey, tmp_path):
    publish(valkey.connect())
    old = tmp_path / "bin" / "redis-cli"
    old.unlink(missing_ok=True)
    old.write_text("#!/bin/sh\necho 'Unrecognized option: -e' >&2\nexit 1\n")
    old.chmod(0o755)
    assert proof(box, valkey.url).returncode == 0


def test_official_symbols_that_are_not_ascii_are_counted(box, valkey):
    db = valkey.connect()
    settings = UniverseSettings(symbol_regex=re.compile(r".+USDT"))
    store = Store(db, 60_000, owner="t")
    store.lease.acquire()
    now_s = time.time()
    snapshot = read(body("BTCUSDT", row("龙虾USDT")), settings, now_s)
    published = store.read()
    store.commit(published, cycle.after_body(published, snapshot, settings, now_s))
    told = json.loads(proof(box, valkey.url, "--json").stdout)
    assert (told["status"], told["count"]) == ("fresh", 2)


def test_hostile_text_steers_no_terminal_and_breaks_no_json(box, valkey):
    db = valkey.connect()
    publish(db)
    nasty = b'\x1b[2J"\\ \xff \xc2\x9b evil'
    db.hset(
        streams.UNIVERSE_META,
        mapping={"error": nasty, "stale": "1", "mode": b'm"\x1b', "epoch": "007"},
    )
    done = subprocess.run(
        ["bash", str(SCRIPT)],
        env={**box, "REDIS_URL": valkey.url},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    told = done.stdout.decode()
    assert not {char for char in told if unicodedata.category(char) == "Cc"} - {"\n"}
    assert "evil" in told
    assert json.loads(proof(box, valkey.url, "--json").stdout)["status"] == "stale"


def test_running_system_is_found_without_any_setting(box, valkey, tmp_path):
    publish(valkey.connect())
    run = tmp_path / "home" / "run"
    run.mkdir()
    (run / "current.env").write_text(f"REDIS_URL={valkey.url}\nREDIS_PORT=1\nPROFILE=live\n"
                                     f"QUANTUM_RUN_DIR={run}\n")  # fmt: skip
    assert proof(box, "").returncode == 0


def test_unknown_option_and_no_client_at_all(box, valkey):
    done = proof(box, valkey.url, "--frob")
    assert done.returncode == 1
    assert "Usage:" in done.stderr
    done = proof({**box, "QUANTUM_HOME": "/nonexistent"}, valkey.url)
    if not (CLI and "redis-cli" in os.listdir(box["PATH"])):  # noqa: PTH208 - a plain look
        assert done.returncode == 1
        assert "neither redis-cli" in done.stderr


class TestVerb:
    """./run universe."""

    def test_show_held_and_accept(self, valkey, monkeypatch, capsys):
        monkeypatch.setenv("REDIS_URL", valkey.url)
        db = valkey.connect()
        assert main(["universe"]) == 4
        publish(db)
        assert main(["universe"]) == 0
        assert "status       fresh" in capsys.readouterr().out
        assert main(["universe", "accept"]) == 1
        db.set(streams.UNIVERSE_HELD, json.dumps(["abc", ["BTCUSDT"], 2]))
        assert main(["universe", "held"]) == 0
        told = capsys.readouterr().out
        assert "1 symbols would go; the same set was seen 2 times" in told
        assert "\nwhy " in told
        # An approval is for the set that was looked at
        assert main(["universe", "accept", "other"]) == 1
        assert db.get(streams.UNIVERSE_ACCEPT) is None
        assert main(["universe", "accept", "abc"]) == 0
        assert db.get(streams.UNIVERSE_ACCEPT) == b"abc"
        [(_, told)] = db.xrange(streams.AUDIT_FINDING.key)
        assert told[b"finding"] == b"universe_removal_accepted"
        assert told[b"subject"] == b"set abc"

    def test_stale_and_json(self, valkey, monkeypatch, capsys):
        monkeypatch.setenv("REDIS_URL", valkey.url)
        db = valkey.connect()
        publish(db)
        db.hset(streams.UNIVERSE_META, mapping={"stale": "1", "error": "\x1b[2J"})
        assert main(["universe", "show"]) == 3
        assert "\x1b" not in capsys.readouterr().out
        assert main(["universe", "--json"]) == 3
        assert json.loads(capsys.readouterr().out)["symbols"] == ["BTCUSDT", "ETHUSDT", "SOLUSDT"]
