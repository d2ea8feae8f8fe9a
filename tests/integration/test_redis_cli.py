"""./run redis-cli: the built-in client beside the real one, byte for byte."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys

import pytest

from ops import redis_cli
from tests.contract.reference import ROOT

REAL = shutil.which("redis-cli")

COMMANDS = [
    ["PING"],
    ["SET", "k", "v"],
    ["GET", "k"],
    ["GET", "nothing"],
    ["INCR", "n"],
    ["LPUSH", "k", "x"],
    ["NOSUCHCOMMAND"],
    ["RPUSH", "l", "a", "b\nc", '"q"', "\x01", ""],
    ["LRANGE", "l", "0", "-1"],
    ["LRANGE", "empty", "0", "-1"],
    ["MGET", "k", "nothing", "k"],
    ["XADD", "s", "1-1", "f", "v", "f", "w"],
    ["XADD", "s", "2-1", "g", "h"],
    ["XRANGE", "s", "-", "+"],
    ["XREAD", "STREAMS", "s", "0"],
    ["EVAL", "return {1,{2,{'x',{}}},redis.error_reply('MY own')}", "0"],
    ["HSET", "h", "ключ", "значение"],
    ["HGETALL", "h"],
]


def builtin(server, *argv, stdin=b"", tty=False):
    out = io.BytesIO()
    options = redis_cli.parse(list(argv))
    code = redis_cli.run(server.connect(), options, io.BytesIO(stdin), out, tty=tty)
    return code, out.getvalue()


def real(server, *argv, stdin=b""):
    if REAL is None:
        if os.environ.get("CI"):
            pytest.fail("CI installs redis-tools first")
        pytest.skip("no redis-cli to compare with (apt-get install redis-tools)")
    found = subprocess.run(
        [REAL, "-s", str(server.socket), *argv], input=stdin, capture_output=True, check=False
    )
    return found.returncode, found.stdout


@pytest.mark.parametrize("form", ["--raw", "--no-raw"])
def test_every_kind_of_reply_is_printed_as_redis_cli_prints_it(form, valkey):
    for command in COMMANDS:
        ours = builtin(valkey, form, *command)
        valkey.connect().flushall()
        _replay(valkey, command)
        theirs = real(valkey, form, *command)
        valkey.connect().flushall()
        _replay(valkey, command)
        builtin(valkey, *command)
        assert ours == theirs, command


def _replay(valkey, last) -> None:
    """The state before ``last``, so that both clients meet the same keys."""
    for command in COMMANDS[: COMMANDS.index(last)]:
        builtin(valkey, *command)


def test_e_turns_an_error_reply_into_exit_1_and_only_with_e(valkey):
    for argv in (["-e", "NOSUCH"], ["NOSUCH"], ["-e", "PING"]):
        assert builtin(valkey, *argv)[0] == real(valkey, *argv)[0]
    assert builtin(valkey, "-e", "NOSUCH")[0] == 1


def test_x_takes_the_last_argument_from_standard_input(valkey):
    payload = b"\x00\xff line\n"
    assert builtin(valkey, "-x", "SET", "k", stdin=payload) == (0, b"OK\n")
    assert valkey.connect().get("k") == payload


def test_lines_of_standard_input_are_commands(valkey):
    code, out = builtin(valkey, stdin=b'SET k "a b"\nGET k\n\nquit\nGET k\n')
    assert (code, out) == (0, b"OK\na b\n")


def test_terminal_form_is_the_default_on_a_terminal(valkey):
    assert builtin(valkey, "PING", tty=True)[1] == b"PONG\n"
    assert builtin(valkey, "INCR", "n", tty=True)[1] == b"(integer) 1\n"


def test_repeat_and_database(valkey):
    assert builtin(valkey, "-r", "3", "INCR", "n") == (0, b"1\n2\n3\n")
    builtin(valkey, "-n", "1", "SET", "other", "1")
    assert valkey.connect().get("other") is None


@pytest.mark.parametrize("argv", [["--bigkeys"], ["-r"], ["-r", "x"], ["-x"]])
def test_what_it_cannot_do_is_said(argv):
    with pytest.raises(redis_cli.UsageError):
        redis_cli.parse(argv)


@pytest.mark.parametrize("how", ["builtin", "system"])
def test_verb_finds_the_server_of_the_settings(how, valkey, tmp_path):
    if how == "system":
        real(valkey, "PING")
    valkey.connect().set("k", "found")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "REDIS_URL": valkey.url,
        "QUANTUM_ENV_DIR": str(tmp_path),
        "QUANTUM_REDIS_CLI": how,
    }
    found = subprocess.run(
        [sys.executable, "-m", "ops", "redis-cli", "GET", "k"],
        cwd=ROOT, env=environment, capture_output=True, check=True,
    )  # fmt: skip
    assert found.stdout == b"found\n"


def test_unreachable_server_is_one_line_and_exit_69(tmp_path):
    environment = {
        "PATH": os.environ["PATH"],
        "REDIS_URL": f"unix://{tmp_path}/none.sock",
        "QUANTUM_ENV_DIR": str(tmp_path),
        "QUANTUM_REDIS_CLI": "builtin",
    }
    found = subprocess.run(
        [sys.executable, "-m", "ops", "redis-cli", "PING"],
        cwd=ROOT, env=environment, capture_output=True, check=False, text=True,
    )  # fmt: skip
    assert found.returncode == 69
    assert found.stderr.count("\n") == 1
    assert "unreachable" in found.stderr
