"""A power loss that tears a transaction: the server must forget all of it, and for good."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from tests.reliability.rig import ALWAYS
from tests.reliability.scenarios.power_loss import TWICE
from tests.servers import Server

TWO_WRITES = "redis.call('HINCRBY', 'story', 'a', 1) redis.call('SET', 'torn', 'x') return 1"


def torn(flavour: str) -> Server:
    """A server that was killed while the second write of a transaction went to its disk."""
    server = Server(flavour, *ALWAYS)
    db = server.connect()
    db.eval(TWO_WRITES, 0)
    db.connection_pool.disconnect()
    server.kill()
    [path] = (server.folder / "appendonlydir").glob("*.incr.aof")
    os.truncate(path, path.read_bytes().index(b"torn") + 2)
    return server


def again_and_restarted(server: Server) -> dict[bytes, bytes]:
    """What stands there once it was done anew and the server restarted."""
    server.start()
    db = server.connect()
    assert db.hgetall("story") == {}
    db.eval(TWO_WRITES, 0)
    db.connection_pool.disconnect()
    server.kill()
    server.start()
    db = server.connect()
    found = db.hgetall("story")
    db.connection_pool.disconnect()
    return found


@pytest.mark.parametrize(
    "flavour",
    [
        "valkey",
        pytest.param(
            "redis7", marks=[pytest.mark.needs_redis7, pytest.mark.xfail(reason=TWICE, strict=True)]
        ),
    ],
)
def test_what_was_torn_and_done_anew_stands_once(flavour):
    server = torn(flavour)
    try:
        assert again_and_restarted(server) == {b"a": b"1"}
    finally:
        server.close()


@pytest.mark.needs_redis7
def test_redis_7_does_so_once_its_file_was_repaired_before_it_starts():
    # Given the same on Redis 7.0, and what its operator is told to type after a power loss
    tool = shutil.which("redis-check-aof")
    if tool is None:
        pytest.skip("no redis-check-aof here (apt-get install redis-tools)")
    server = torn("redis7")
    try:
        [manifest] = (server.folder / "appendonlydir").glob("*.manifest")
        subprocess.run(
            [tool, "--fix", str(manifest)], input=b"y\n", check=True, capture_output=True
        )
        # Then nothing is left to be applied twice
        assert again_and_restarted(server) == {b"a": b"1"}
    finally:
        server.close()
