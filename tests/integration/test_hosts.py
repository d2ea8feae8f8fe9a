"""Three hosts on one server, each under a supervisord of its own; one of them is lost whole."""

from __future__ import annotations

import contextlib
import json
import os
import signal

import pytest

from quantum_ops import streams
from quantum_ops.events import AuditFinding
from quantum_ops.heartbeat import everywhere
from quantum_ops.publisher import Publisher
from tests.exchange import SIX, answer, body
from tests.servers import Server
from tests.supervised import System, free_port
from tests.waiting import wait_until

HOSTS = ("a", "b", "c")
CONSUMERS = '''
"""Stands in for the consumers."""
from quantum_ops import streams
from quantum_ops.consumer import consumer

@consumer(streams.AUDIT_FINDING, batch=5)
def counting(event, context):
    """Counts each subject."""
    context.hincr("count", event.subject)
'''
KEEPER = '''
"""Stands in for a program whose truth are files."""
import os
from quantum_ops import streams
from quantum_ops.consumer import consumer

@consumer(streams.AUDIT_FINDING, effects_outside="files")
def keeper(event, context):
    """Says on which host it wrote."""
    context.hset("kept", {event.subject: os.environ["QUANTUM_HOST"]})
'''


class Host(System):
    """One host: supervisord, a counting consumer, a keeper of files, the universe producer."""

    def __init__(self, name: str, url: str, exchange: str) -> None:
        super().__init__()
        for folder in ("conf.d", "demo.d"):
            for path in (self.tree / "supervisor" / folder).glob("*.conf"):
                path.unlink()
        for module, source in (("counting", CONSUMERS), ("keeper", KEEPER)):
            (self.tree / "consumers" / f"{module}.py").write_text(source)
            self.add(module, "consumers")
        self.add("universe", "producers", extra="priority=500")
        self.environ |= {
            "QUANTUM_HOST": name, "REDIS_URL": url, "UNIVERSE_URL": exchange,
            "UNIVERSE_REFRESH_SEC": "1", "QUANTUM_BLOCK_MS": "100",
            "QUANTUM_CLAIM_AFTER_SEC": "1", "QUANTUM_RETRY_CAP_SEC": "0.5",
        }  # fmt: skip

    def dies(self) -> None:
        """The host is gone: nothing on it says goodbye."""
        pids = [pid for pid in self.pids().values() if pid]
        # Stopped first, all of them: whoever saw its parent die would drain and take its leave.
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in (*pids, self.supervisord()):
                os.kill(pid, number)


@pytest.fixture
def world(exchange):
    exchange.respond = answer(body(*SIX))
    port = free_port()
    server = Server("valkey", "--port", str(port), "--bind", "127.0.0.1")
    with contextlib.ExitStack() as stack:
        stack.callback(server.close)
        hosts = {name: Host(name, server.url, exchange.url) for name in HOSTS}
        for host in hosts.values():
            stack.callback(host.close)
        starting = [host.begin("start") for host in hosts.values()]
        for one in starting:
            told, _ = one.communicate(timeout=90)
            assert one.returncode == 0, told
        yield server, hosts


def states(db, program: str) -> dict[str, str]:
    """Host -> state of its process of ``program``."""
    return {
        token.partition(".")[0]: beat.get("state", "silent")
        for token, (_, beat) in everywhere(db, program, 1).items()
    }


def publish(db, start: int, count: int) -> None:
    publisher = Publisher(db)
    for number in range(start, start + count):
        publisher.publish(
            AuditFinding(auditor="t", finding="f", severity="info", subject=str(number))
        )


@pytest.mark.whole
def test_three_hosts_share_the_work_and_one_that_is_lost_is_replaced(world):
    server, hosts = world
    db = server.connect()
    # Given three hosts at work on the same stream
    publish(db, 0, 200)
    wait_until(lambda: db.hlen("count") == 200, 20, "all is handled")
    rows = db.execute_command("XINFO", "CONSUMERS", streams.AUDIT_FINDING.key, "counting")
    names = {bytes(row[b"name"] if isinstance(row, dict) else row[1]) for row in rows}
    assert names == {b"a:counting:0", b"b:counting:0", b"c:counting:0"}
    # Then one leads and two stand by, of producers and of those who have files
    wait_until(
        lambda: sorted(states(db, "universe").values()) == ["ready", "standby", "standby"], 15
    )
    wait_until(lambda: sorted(states(db, "keeper").values()) == ["ready", "standby", "standby"], 15)
    looked = hosts["b"].verb("status", "--all-hosts", "--json")
    told = json.loads(looked.stdout)
    assert (looked.returncode, told["ready"], told["hosts"]) == (0, True, ["a", "b", "c"])
    assert len(told["processes"]) == 9
    # And each knows its own
    own = hosts["c"].status()
    assert (own["ready"], own["host"], own["page"]) == (True, "c", None)

    # When the host that leads is lost whole, in the midst of work
    lost = next(name for name, state in states(db, "universe").items() if state == "ready")
    publish(db, 200, 200)
    hosts[lost].dies()
    publish(db, 400, 100)
    # Then the others do all of it, once
    wait_until(lambda: db.hlen("count") == 500, 30, "all is handled by the others")
    assert set(db.hvals("count")) == {b"1"}
    # Its heartbeat is made to expire: fifteen seconds are long for a test
    for program in ("counting", "keeper", "universe"):
        db.delete(streams.heartbeat(program, f"{lost}.0"))
    wait_until(lambda: "ready" in states(db, "universe").values(), 20, "another one leads")
    other = next(name for name in HOSTS if name != lost)
    looked = hosts[other].verb("status", "--all-hosts")
    assert looked.returncode == 3
    assert f"{lost}     counting-00  SILENT" in looked.stdout
    assert "3 hosts   NOT READY: 3 of 9 processes" in looked.stdout

    # And whose files were on one host, stays there until an operator moves it
    home = db.get(streams.home("keeper")).decode()
    assert set(db.hvals("kept")) <= {home.encode()}
    moved = next(name for name in HOSTS if name not in (lost, home))
    beat = db.hgetall(streams.heartbeat("keeper", f"{moved}.0"))
    assert f"its files are on host {home}".encode() in beat[b"detail"]
    db.set(streams.home("keeper"), moved)
    wait_until(lambda: states(db, "keeper")[moved] == "ready", 20, "the keeper has moved")
    if home != lost:
        wait_until(lambda: states(db, "keeper")[home] == "standby", 20, "the other one stands by")
    publish(db, 500, 10)
    wait_until(lambda: db.hget("kept", "509") == moved.encode(), 20, "it works there")
