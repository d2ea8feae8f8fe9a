"""Users of the embedded server, as an operator meets them: from the first start on."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import subprocess
from pathlib import Path

import pytest
import redis

from quantum_ops import client
from quantum_ops.settings import RedisSettings
from tests.supervised import System
from tests.waiting import wait_until

DEPLOY = "quantum:stream:deploy.completed"


@pytest.fixture(scope="module")
def system():
    """A running system; its stories deny things on purpose and clear the log of denials."""
    made = System().with_stand_ins()
    made.start()
    yield made
    forget_denials(made)
    made.close()


def forget_denials(system):
    with opened(system.connect()) as db:
        db.execute_command("ACL", "LOG", "RESET")


@contextlib.contextmanager
def opened(db):
    """Closed at the end: the server may be gone when a collector of garbage would do it."""
    try:
        yield db
    finally:
        db.connection_pool.disconnect()


def nameless(system):
    """Whoever types redis-cli -p PORT."""
    return opened(client.connect(RedisSettings(host="127.0.0.1", port=system.port)))


def passwords(system):
    return {path.stem: path.read_text().strip() for path in system.paths.acl.glob("*.password")}


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_every_user_is_there_from_the_first_start_and_no_password_is_shown(system):
    folder = system.paths.acl
    assert mode(folder) == 0o700
    assert {mode(path) for path in folder.iterdir()} == {0o600}
    known = passwords(system)
    assert {"p33", "operator", "audit", "deployer", "admin"} < set(known)
    assert "demo_trading" not in known, "the live system has no stand-in for the trading side"
    # neither arguments, which ps shows to everybody, nor environments hold one, nor the ACL file
    for pid in {*system.pids().values(), system.supervisord()} - {0}:
        shown = b"".join(
            Path(f"/proc/{pid}/{part}").read_bytes() for part in ("cmdline", "environ")
        )
        assert [name for name, one in known.items() if one.encode() in shown] == []
    text = (folder / "users.acl").read_text()
    assert [name for name, one in known.items() if one in text] == []
    assert system.verb("acl", "check").returncode == 0


def test_whoever_names_no_user_does_what_the_specification_types_and_nothing_else(system):
    with nameless(system) as db:
        assert db.xadd(DEPLOY, {"operation": "P2.7"})
        assert db.get("quantum:cfg:universe:active") is None
        assert db.hgetall("quantum:cfg:universe:meta") == {}
        for command in ("XADD quantum:stream:apply.plan * a b", "FLUSHALL", "CONFIG GET port",
                        "EVAL return 0", f"DEL {DEPLOY}", "SET quantum:x 1"):  # fmt: skip
            with pytest.raises(redis.ResponseError):
                db.execute_command(*command.split())
    # and doctor tells of it
    told = system.verb("doctor").stdout
    assert "default: set" in told
    assert "QUANTUM_DEFAULT_USER=off" in told
    forget_denials(system)


def test_redis_cli_is_the_operators_and_becomes_whoever_is_named(system):
    def typed(*argv, **environ):
        return system.verb("redis-cli", *argv, **environ).stdout.strip()

    for client_ in ({}, {"QUANTUM_REDIS_CLI": "builtin"}):
        assert typed("ACL", "WHOAMI", **client_) == "operator"
        assert typed("--user", "admin", "ACL", "WHOAMI", **client_) == "admin"
    refused = system.verb("redis-cli", "-e", "XADD", "quantum:stream:apply.plan", "*", "a", "b")
    assert refused.returncode == 1
    assert "NOPERM" in refused.stderr + refused.stdout
    forget_denials(system)


def test_a_lost_password_is_told_and_mended_while_everything_runs(system):
    before = passwords(system)
    (system.paths.acl / "operator.password").unlink()
    lost = system.verb("lag")
    assert lost.returncode == 78
    assert "./run acl apply" in lost.stderr
    applied = system.verb("acl", "apply")
    assert applied.returncode == 0, applied.stderr
    after = passwords(system)
    assert after["operator"] != before["operator"]
    assert after["admin"] == before["admin"]
    assert system.verb("lag").returncode == 0
    system.wait_ready()


def test_the_administrators_own_password_is_replaced_by_a_start_of_the_server(system):
    before = passwords(system)
    (system.paths.acl / "admin.password").unlink()
    refused = system.verb("acl", "apply")
    assert refused.returncode == 78
    assert "it takes all users anew when it starts: ./run restart redis" in refused.stderr
    assert system.verb("restart", "redis").returncode == 0
    system.wait_ready()
    after = passwords(system)
    assert {name for name in after if after[name] != before[name]} == {"admin"}
    assert system.verb("acl", "check").stdout == "every user is as it should be\n"


def test_after_a_kill_and_lost_files_the_next_start_heals_and_may_shut_the_nameless_out(system):
    # given a system that is killed, and of its users only a password that a power loss tore; as an
    # earlier version, which had no users, would have left it
    os.kill(system.supervisord(), signal.SIGKILL)
    wait_until(lambda: not _answers(system), 30, "the server is down")
    shutil.rmtree(system.paths.acl)
    system.paths.acl.mkdir()
    (system.paths.acl / "admin.password").write_bytes(b"")
    # when it is started, with the default user off
    system.start(QUANTUM_DEFAULT_USER="off")
    # then passwords and users fit, the data is there, and nobody comes in without a name
    with opened(system.connect()) as db:
        assert db.xlen(DEPLOY) == 1
    with pytest.raises(redis.RedisError, match=r"(?i)auth"), nameless(system) as db:
        db.ping()
    assert "whoever may open a port" not in system.verb("doctor").stdout
    # and the scripts of the specification name their user by themselves
    proof = subprocess.run(
        ["bash", "ops/permit_audit.sh", "--sample", "1"],
        cwd=system.tree, env={**system.environ, "PATH": os.environ["PATH"]}, text=True,
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert proof.returncode == 2, proof.stdout + proof.stderr  # no permits there, and that is told


def _answers(system):
    if not system.paths.redis_socket.exists():
        return False
    with opened(system.connect()) as db:
        try:
            return db.ping()
        except redis.RedisError:
            return False
