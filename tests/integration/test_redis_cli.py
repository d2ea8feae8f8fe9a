"""./run redis-cli: the built-in client beside the real one, byte for byte."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import sys
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops import redis_cli
from ops.verbs import redis_cli as verb
from quantum_ops import client
from quantum_ops.settings import RedisSettings
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


LINES = [
    b'SET k "\\x00\\xff\\n"\nGET k\n',
    b"NOSUCH\n\nPING\nquit\nPING\n",
    b"\"open\nPING\n'a'b\nECHO 'it\\'s'\nECHO \"a\"b\n",
    b"ECHO \xff\xfe\n",
]


@pytest.mark.parametrize("form", ["--raw", "--no-raw"])
@pytest.mark.parametrize("stdin", LINES)
def test_lines_are_understood_as_redis_cli_understands_them(stdin, form, valkey):
    assert builtin(valkey, form, stdin=stdin) == real(valkey, form, stdin=stdin)


@given(words=st.lists(st.binary(max_size=40).filter(lambda word: b"\0" not in word), max_size=6))
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_value_is_printed_as_redis_cli_prints_it(words, valkey):
    # given a list of any bytes that a command line can carry
    db = valkey.connect()
    db.delete("any")
    if words:
        db.rpush("any", *words)
    # then both forms are the real client's, byte for byte
    for form in ("--raw", "--no-raw"):
        argv = (form, "LRANGE", "any", "0", "-1")
        assert builtin(valkey, *argv) == real(valkey, *argv)


def test_with_e_the_error_stands_on_stderr_alone(valkey, capsys):
    # given what the real client does with stdout
    assert builtin(valkey, "-e", "NOSUCH") == real(valkey, "-e", "NOSUCH") == (1, b"")
    assert capsys.readouterr().err.startswith("ERR unknown command")


def test_a_database_that_is_not_there_is_refused_instead_of_writing_to_another(valkey, capsys):
    assert builtin(valkey, "-n", "99", "SET", "stray", "1") == (1, b"")
    assert "SELECT 99 failed" in capsys.readouterr().err
    assert valkey.connect().get("stray") is None


def test_a_blocking_command_waits_longer_than_our_own_timeout(valkey):
    # given a client that would give up after 50 ms
    hasty = client.connect(RedisSettings(url=valkey.url, timeout_s=0.05))
    options = redis_cli.parse(["--no-raw", "BLPOP", "nothing", "0.3"])
    out = io.BytesIO()
    # then the server's answer is what ends the wait
    assert redis_cli.run(hasty, options, io.BytesIO(), out, tty=False) == 0
    assert out.getvalue() == b"(nil)\n"


def test_a_server_that_goes_away_between_two_commands_is_exit_69(tmp_path):
    # given a server that answers one PING and closes
    path = tmp_path / "s"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve():
        peer, _ = listener.accept()
        with peer, peer.makefile("rb") as asked:
            for line in asked:
                if line.strip() in (b"PING", b"SETNAME"):
                    peer.sendall(b"+OK\r\n")
                if line.strip() == b"PING":
                    return

    thread = threading.Thread(target=serve)
    thread.start()
    environment = {
        "PATH": os.environ["PATH"], "REDIS_URL": f"unix://{path}",
        "QUANTUM_ENV_DIR": str(tmp_path), "QUANTUM_REDIS_CLI": "builtin",
    }  # fmt: skip
    # when PING is sent twice, then the end is told; SIGPIPE would end us without a word
    found = subprocess.run(
        [sys.executable, "-m", "ops", "redis-cli", "-r", "2", "-i", "0.2", "PING"],
        cwd=ROOT, env=environment, capture_output=True, check=False, text=True,
    )  # fmt: skip
    thread.join()
    listener.close()
    assert (found.returncode, found.stdout) == (69, "OK\n")
    assert "unreachable" in found.stderr


def test_a_reader_that_leaves_early_is_no_error():
    # given output that nobody reads
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as stdout:
        done = subprocess.run(
            [sys.executable, "-m", "ops", "--help"],
            cwd=ROOT, stdout=stdout, stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["-p", "6380", "PING"], True),
        (["-n", "2", "-h", "box", "PING"], True),
        (["--pattern", "a*", "-s", "/s", "--scan"], True),
        (["SET", "-p", "1"], False),
        (["-n", "-p", "GET"], False),
        ([], False),
    ],
)
def test_a_server_named_by_hand_is_noticed(argv, named):
    assert verb.names_server(argv) is named


def test_a_server_named_by_hand_is_the_one_that_is_asked(valkey, tmp_path):
    # given our server in the settings, and a port typed by hand where nobody listens
    real(valkey, "PING")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    environment = {
        "PATH": os.environ["PATH"], "REDIS_URL": valkey.url, "QUANTUM_ENV_DIR": str(tmp_path),
    }  # fmt: skip
    # when a write is sent there
    found = subprocess.run(
        [sys.executable, "-m", "ops", "redis-cli", "-h", "127.0.0.1", "-p", port, "SET", "m", "1"],
        cwd=ROOT, env=environment, capture_output=True, check=False,
    )  # fmt: skip
    # then it fails; it does not land on our server
    assert found.returncode == 1
    assert valkey.connect().get("m") is None


@pytest.mark.parametrize("argv", [["--bigkeys"], ["-r"], ["-r", "x"], ["-r", "inf"], ["-x"]])
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
