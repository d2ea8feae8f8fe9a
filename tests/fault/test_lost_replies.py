"""Replies lost on the wire: the write happened, and nobody heard of it."""

from __future__ import annotations

import pytest
import redis

from quantum_ops import client, streams
from quantum_ops.consumer import consumer
from quantum_ops.errors import PublishUnknownError
from quantum_ops.events import AuditFinding
from quantum_ops.publisher import Publisher
from quantum_ops.redis_inbox import RedisInbox
from quantum_ops.settings import RedisSettings
from tests.backends import QUICK, RedisBackend
from tests.proxy import Proxy, now_and_then
from tests.waiting import wait_until

KEY = streams.AUDIT_FINDING.key


def finding(number: int) -> AuditFinding:
    return AuditFinding(auditor="t", finding="f", severity="info", subject=str(number))


@pytest.fixture
def proxy_to(server):
    opened = []

    def open_one(fault) -> Proxy:
        opened.append(Proxy(server.socket, fault))
        return opened[-1]

    yield open_one
    for proxy in opened:
        proxy.close()


def connect(proxy: Proxy, timeout_s: float = 5.0):
    return client.connect(RedisSettings(url=proxy.url, timeout_s=timeout_s))


def test_our_client_sends_a_command_once_and_says_that_its_outcome_is_unknown(proxy_to, db):
    # Given a line on which the first reply is lost
    replies = iter(["drop"])
    proxy = proxy_to(lambda: next(replies, ""))
    # When one XADD is sent, then the caller is told, and it stands once
    with pytest.raises(redis.ConnectionError):
        connect(proxy).xadd("s", {"a": "1"})
    assert db.xlen("s") == 1


def test_published_events_stand_once_however_many_replies_are_lost(proxy_to, db):
    # Given a line that loses three replies of ten
    proxy = proxy_to(now_and_then(0.3, seed=7))
    publisher = Publisher(connect(proxy), patience_s=20, sleep=lambda _s: None)
    # When 200 events are published
    ids = [publisher.publish(finding(number)) for number in range(200)]
    # Then each stands once, under the id that was given
    assert proxy.dropped > 30
    entries = db.xrange(KEY)
    assert [entry_id.decode() for entry_id, _ in entries] == ids
    assert [fields[b"subject"] for _, fields in entries] == [b"%d" % n for n in range(200)]


def test_publisher_that_hears_nothing_says_unknown_and_names_the_cure(proxy_to, db):
    proxy = proxy_to(lambda: "drop")
    publisher = Publisher(connect(proxy), patience_s=0.05, sleep=lambda _s: None)
    event = finding(1)
    with pytest.raises(PublishUnknownError, match=rf"{event.event_id}.*publish it again"):
        publisher.publish(event)
    # And doing so over a line that works adds nothing
    Publisher(db).publish(event)
    assert db.xlen(KEY) == 1


def test_consumer_on_a_line_that_loses_replies_applies_each_effect_once(proxy_to, db, server):
    # Given 300 events and a consumer whose line loses a tenth of all replies
    publisher = Publisher(db)
    for number in range(300):
        publisher.publish(finding(number))
    proxy = proxy_to(now_and_then(0.1, seed=11))

    @consumer(streams.AUDIT_FINDING, batch=7)
    def counter(event, context):
        context.hincr("count", event.subject)

    backend = RedisBackend(lambda: connect(proxy))
    runner, _ = _unopened(backend, counter)
    # When it runs until everything is counted
    import threading

    thread = threading.Thread(target=runner.run)
    thread.start()
    try:
        wait_until(
            lambda: db.hlen("count") == 300 and db.xpending(KEY, "counter")["pending"] == 0,
            30,
            "300 counted",
        )
    finally:
        runner._clock.stop()
        thread.join(10)
    # Then each stands once: none lost, none doubled, none stuck
    assert proxy.dropped > 5
    assert set(db.hgetall("count").values()) == {b"1"}
    assert db.xpending(KEY, "counter")["pending"] == 0


def test_a_vanished_group_is_told_once_though_the_reply_to_making_it_is_lost(proxy_to, db):
    # Given a process that had its group, and a server that was emptied
    armed: list[str] = []
    inbox = RedisInbox(connect(proxy_to(lambda: armed.pop() if armed else "")), (KEY,), "g", "one")
    inbox.ensure_groups()
    db.flushall()
    # When it makes the group anew, and never hears of it
    armed.append("drop")
    with pytest.raises(redis.ConnectionError):
        inbox.ensure_groups()
    # Then it is there when it looks again, and told of once
    assert inbox.ensure_groups() == []
    [(_, told)] = db.xrange(KEY)
    assert told[b"finding"] == b"group_recreated"
    assert told[b"detail"] == b"the consumer group had vanished; made anew at 0-0 (no checkpoint)"


def _unopened(backend: RedisBackend, made):
    """A runner that opens its inbox itself, inside run()."""
    from quantum_ops import logs
    from quantum_ops.clock import Clock
    from quantum_ops.context import Context
    from quantum_ops.runner import Runner
    from quantum_ops.testing import Recorder

    clock = Clock()
    observer = Recorder()
    inbox = backend.inbox(tuple(s.key for s in made.streams), made.name, "one")
    context = Context(made.name, None, logs.get(), clock)
    return Runner(made, inbox, context, made.bound(QUICK), observer, clock=clock), observer
