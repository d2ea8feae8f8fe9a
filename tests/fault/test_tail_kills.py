"""./run tail -f while its server is killed again and again: what stands there is shown, once."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import redis

from quantum_ops import streams
from tests.servers import Server
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
FULL = os.environ.get("QUANTUM_FAULTS") == "full"
KILLS = 40 if FULL else 3
KEYS = [streams.APPLY_PLAN.key, streams.APPLY_RESULT.key, streams.PERMIT_DECIDED.key]


@pytest.fixture
def server():
    started = Server("valkey", "--appendonly", "yes", "--appendfsync", "always")
    yield started
    started.close()


def writing(server: Server, stop: threading.Event) -> None:
    """Add to one stream after the other, as fast as the server takes it, killed or not."""
    db, chance = server.connect(), random.Random(3)
    while not stop.is_set():
        try:
            db.xadd(chance.choice(KEYS), {"n": str(chance.random())})
        except (redis.RedisError, OSError):
            stop.wait(0.01)


@pytest.mark.timeout(300)
def test_every_entry_is_shown_once_and_in_order_whatever_is_killed(server, tmp_path):
    # given a reader in a process of its own, and a writer that does not stop
    out, notes = tmp_path / "out", tmp_path / "notes"
    with out.open("wb") as to, notes.open("wb") as err:
        tail = subprocess.Popen(
            [sys.executable, "-m", "ops", "tail", "-f", "--since", "start", "-F", "%s %i"],
            cwd=ROOT, stdout=to, stderr=err, env={**os.environ, "REDIS_URL": server.url},
        )  # fmt: skip
    stop = threading.Event()
    writer = threading.Thread(target=writing, args=(server, stop))
    writer.start()
    try:
        for kills in range(1, KILLS + 1):
            size = out.stat().st_size
            wait_until(lambda size=size: out.stat().st_size > size, 30, "it shows what is new")
            server.kill()
            wait_until(
                lambda kills=kills: notes.read_text().count("Redis is away") == kills,
                30,
                "it tells",
            )
            server.start()
    finally:
        stop.set()
        writer.join()
    # when it has come to the end, then it has shown what is there, all of it, nothing twice
    db = server.connect()
    there = [
        f"{streams.short(key)} {id_.decode()}" for key in KEYS for id_, _ in db.xrange(key)
    ]  # fmt: skip
    wait_until(lambda: len(out.read_text().splitlines()) >= len(there), 30, "all is shown")
    tail.terminate()
    tail.wait(10)
    shown = out.read_text().splitlines()
    assert sorted(shown) == sorted(there)
    ids = [tuple(map(int, line.split()[1].split("-"))) for line in shown]
    assert ids == sorted(ids)
    assert notes.read_text().splitlines()[1] == "tail: Redis is back"
