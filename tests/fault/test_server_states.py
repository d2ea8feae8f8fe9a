"""A server that is there but will not do as it is told: full, read-only, loading, refusing."""

from __future__ import annotations

import threading

import pytest
import redis

from quantum_ops import client, streams
from quantum_ops.clock import Clock
from quantum_ops.consumer import consumer
from quantum_ops.context import Context
from quantum_ops.errors import RefusedError
from quantum_ops.events import AuditFinding
from quantum_ops.publisher import Publisher
from quantum_ops.redis_inbox import RedisInbox
from quantum_ops.runner import Runner
from quantum_ops.settings import RedisSettings
from quantum_ops.testing import Recorder
from tests.backends import QUICK
from tests.waiting import wait_until

KEY = streams.AUDIT_FINDING.key


@consumer(streams.AUDIT_FINDING)
def counter(event, context):
    context.hincr("count", event.subject)


class Running:
    """A runner in a thread, ended with the test."""

    def __init__(self, db, name: str) -> None:
        self.clock = Clock()
        self.observer = Recorder()
        self.error: Exception | None = None
        inbox = RedisInbox(db, (KEY,), "counter", name)
        context = Context("counter", None, None, self.clock)
        self.runner = Runner(
            counter, inbox, context, counter.bound(QUICK), self.observer, clock=self.clock
        )
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.runner.run()
        except RefusedError as error:
            self.error = error

    def close(self) -> None:
        self.clock.stop()
        self.thread.join(10)


@pytest.fixture
def running():
    started: list[Running] = []
    yield lambda db, name="one": started.append(Running(db, name)) or started[-1]
    for one in started:
        one.close()


def publish(db, number: int) -> None:
    event = AuditFinding(auditor="t", finding="f", severity="info", subject=str(number))
    Publisher(db).publish(event)


def test_full_memory_loses_nothing_that_was_handled(server, db, running):
    # Given a consumer with work, and a server whose memory is full
    for number in range(50):
        publish(db, number)
    db.config_set("maxmemory", 1)
    try:
        worker = running(server.connect())
        # When it works on it; the group itself cannot be made while memory is full
        wait_until(lambda: "redis_away" in worker.observer.kinds(), 5)
        assert db.hlen("count") == 0
        db.config_set("maxmemory", 0)
        wait_until(lambda: db.hlen("count") == 50, 10)
        # And when it fills up while the consumer runs, what is acknowledged was applied
        db.config_set("maxmemory", 1)
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            db.set("x", "y")
    finally:
        db.config_set("maxmemory", 0)
    publish(db, 50)
    wait_until(lambda: db.hlen("count") == 51 and db.xpending(KEY, "counter")["pending"] == 0, 10)
    assert set(db.hgetall("count").values()) == {b"1"}


def test_effects_pass_with_their_acknowledgement_when_memory_runs_full(server, db):
    # Given entries that were read before memory ran full
    from tests.backends import RedisBackend

    publish(db, 1)
    runner, _ = RedisBackend(server.connect).runner(counter)
    runner.step(wait=False)
    db.config_set("maxmemory", 1)
    try:
        runner.flush()
    finally:
        db.config_set("maxmemory", 0)
    # Then acknowledgement and effect happened together
    assert db.hgetall("count") == {b"1": b"1"}
    assert db.xpending(KEY, "counter")["pending"] == 0


def test_read_only_server_is_waited_out(server, db, running):
    for number in range(5):
        publish(db, number)
    worker = running(server.connect())
    wait_until(lambda: db.hlen("count") == 5, 10)
    db.replicaof("127.0.0.1", "1")
    try:
        wait_until(lambda: "redis_away" in worker.observer.kinds(), 10)
    finally:
        db.replicaof("NO", "ONE")
    publish(db, 6)
    wait_until(lambda: db.hlen("count") == 6, 10)
    assert set(db.hgetall("count").values()) == {b"1"}


def test_refusal_ends_the_runner_with_what_to_check(server, db, running):
    db.execute_command("ACL", "SETUSER", "weak", "on", ">pw", "~*", "+ping")
    url = server.url.replace("unix://", "unix://weak@") + "?password=pw"
    try:
        worker = running(client.connect(RedisSettings(url=url)))
        worker.thread.join(10)
        assert isinstance(worker.error, RefusedError)
        assert "ACL" in str(worker.error)
    finally:
        db.execute_command("ACL", "DELUSER", "weak")


def test_wiped_scripts_are_sent_again(server, db, running):
    running(server.connect())
    for number in range(20):
        db.script_flush()
        publish(db, number)
    wait_until(lambda: db.hlen("count") == 20, 10)
    assert set(db.hgetall("count").values()) == {b"1"}


def test_group_destroyed_while_reading_is_recovered_and_told(server, db, running):
    worker = running(server.connect())
    publish(db, 1)
    wait_until(lambda: db.hlen("count") == 1 and not db.xpending(KEY, "counter")["pending"], 10)
    db.xgroup_destroy(KEY, "counter")
    publish(db, 2)
    wait_until(lambda: db.hexists("count", "2"), 5)
    assert db.hmget("count", "1", "2") == [b"1", b"1"]
    assert len(vanished(db)) == 1
    assert "group_recreated" in worker.observer.kinds()


def test_server_that_comes_back_without_its_data_is_told_once(server, db, running):
    # Given two processes of a group, on a server that keeps nothing
    workers = [running(server.connect(), name) for name in ("one", "two")]
    publish(db, 1)
    wait_until(lambda: db.hlen("count") == 1, 10)
    # When it dies and comes back
    server.kill()
    wait_until(lambda: all("redis_away" in one.observer.kinds() for one in workers), 10)
    server.start()
    db.connection_pool.disconnect()
    publish(db, 2)
    # Then work goes on, and one of them has told
    wait_until(lambda: db.hexists("count", "2") and vanished(db), 10)
    assert len(vanished(db)) == 1
    kinds = [kind for one in workers for kind in one.observer.kinds()]
    assert kinds.count("group_recreated") == 1


def vanished(db) -> list[bytes]:
    """Subjects of the Findings that a group had vanished."""
    rows = [fields for _, fields in db.xrange(KEY)]
    return [row[b"subject"] for row in rows if row[b"finding"] == b"group_recreated"]


def test_stream_deleted_while_reading_is_recovered_and_told(server, db, running):
    worker = running(server.connect())
    publish(db, 1)
    wait_until(lambda: db.hlen("count") == 1, 10)
    db.delete(KEY)
    publish(db, 2)
    wait_until(lambda: db.hexists("count", "2"), 5)
    assert "group_recreated" in worker.observer.kinds()
