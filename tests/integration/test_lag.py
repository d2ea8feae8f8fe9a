"""Lag on real servers: what is shown is so, whatever was added, deleted, trimmed, moved."""

from __future__ import annotations

import os

import pytest
from redis.exceptions import NoPermissionError

from quantum_ops import client, lag_reading, streams
from quantum_ops.errors import RefusedError
from quantum_ops.settings import RedisSettings
from tests.lag_oracle import Oracle

FULL = os.environ.get("QUANTUM_FAULTS") == "full"
STEPS = 20_000 if FULL else 2_000
KEY = streams.APPLY_PLAN.key


@pytest.mark.timeout(600)
def test_no_lag_that_is_shown_is_wrong(db, monkeypatch):
    # given pages so small that most counts need several of them
    monkeypatch.setattr(lag_reading, "PAGE", 7)
    monkeypatch.setattr(lag_reading, "AHEAD", 5)
    oracle = Oracle(db, seed=7)
    # when anything happens, each time
    wrong = []
    for _ in range(STEPS):
        wrong += oracle.check(oracle.step())
        assert not wrong
    # then every kind of answer was given, and none was wrong
    print(f"{oracle.checks} checks: {oracle.shown}, {oracle.lost} losses")
    assert min(oracle.shown[how] for how in ("exact", "counted", "atleast")) > STEPS / 100
    assert not oracle.shown[None]
    assert oracle.lost


def fill(db, first, last):
    line = db.pipeline(transaction=False)
    for ms in range(first, last + 1):
        line.execute_command("XADD", KEY, f"{ms}-0", "k", "v")
    line.execute()


def test_what_cannot_be_known_is_unknown_and_never_zero(db, monkeypatch):
    # given a group that is far behind
    fill(db, 1, 500)
    db.xgroup_create(KEY, "p33", "1-0")
    ask, deleted = client.raw, iter(range(400, 0, -1))

    def while_entries_vanish(times):
        left = iter(range(times))

        def asked(*command):
            if next(left, None) is not None:
                db.xdel(KEY, f"{next(deleted)}-0")
            return ask(*command)

        monkeypatch.setattr(client, "raw", asked)

    # when one vanishes while it is counted, then it is counted again
    while_entries_vanish(1)
    (one,) = lag_reading.look(db, [KEY])
    assert (one.entries, one.exactness) == (498, "counted")
    # and when they do not stop vanishing, then nothing is said of the number
    while_entries_vanish(10_000)
    (one,) = lag_reading.look(db, [KEY])
    assert (one.entries, one.exactness, one.lost) == (None, None, None)
    assert one.seconds > 0
    assert one.is_over(10**9, None)
    # and when the stream itself vanishes, there is no group any more
    monkeypatch.setattr(client, "raw", lambda *command: db.delete(KEY) and ask(*command))
    assert lag_reading.look(db, [KEY]) == []


def test_the_oldest_entries_may_be_trimmed_while_the_newest_are_counted(db, monkeypatch):
    fill(db, 1, 500)
    db.xgroup_create(KEY, "p33", "250-0")
    ask = client.raw

    def while_trimmed(*command):
        db.execute_command("XTRIM", KEY, "MINID", "200")
        return ask(*command)

    monkeypatch.setattr(client, "raw", while_trimmed)
    (one,) = lag_reading.look(db, [KEY])
    assert (one.entries, one.exactness, one.lost) == (250, "counted", 0)


def test_entries_trimmed_before_they_were_delivered_are_told(db):
    # given two groups, one that has read a little and one that nobody ever read for
    fill(db, 1, 100)
    db.xgroup_create(KEY, "read", "0")
    db.xgroup_create(KEY, "unread", "0")
    db.xreadgroup("read", "me", {KEY: ">"}, count=10)
    # when trimming goes past both
    db.xtrim(KEY, maxlen=30, approximate=False)
    # then what is left is known, and so is what was lost where the server counts right
    read, unread = lag_reading.look(db, [KEY])
    assert (read.entries, read.exactness, unread.entries) == (30, "exact", 30)
    assert unread.lost == 70
    assert read.lost == (60 if "valkey_version" in db.info("server") else None)
    assert (read.pending, read.consumers, read.delivered, read.held) == (10, 1, (10, 0), (1, 0))
    assert read.behind_s == read.pending_s > read.seconds


def test_a_key_that_is_no_stream_and_a_group_that_is_missing(db):
    db.set(streams.APPLY_RESULT.key, "no stream")
    fill(db, 1, 1)
    db.xgroup_create(KEY, b"\xff\x1b[2J", "0")
    found = lag_reading.look(
        db, [streams.APPLY_RESULT.key, KEY, "nowhere"], expected=[(KEY, "p33"), ("nowhere", "x")]
    )
    assert [(one.stream, one.group, one.entries) for one in found] == [
        (KEY, "\\xff\x1b[2J", 1),
        (KEY, "p33", None),
        ("nowhere", "x", None),
    ]
    assert found[1].delivered is None
    assert found[1].behind_s is None


def test_a_user_without_the_rights_is_told_which(server, db):
    fill(db, 1, 1)
    try:
        for rights, told in {
            "+@read": "NOPERM|permissions",
            "+@read +eval +evalsha": "needs",
        }.items():
            db.execute_command("ACL", "SETUSER", "ro", "reset", "on", ">pw", "~*", *rights.split())
            less = client.connect(RedisSettings(url=f"{server.url}?username=ro&password=pw"))
            with pytest.raises((RefusedError, NoPermissionError), match=told):
                lag_reading.look(less)
        db.execute_command("ACL", "SETUSER", "ro", "+time")
        assert lag_reading.look(less) == []
    finally:
        db.execute_command("ACL", "DELUSER", "ro")


def test_above_the_limit_it_says_at_least(db):
    fill(db, 1, 300)
    db.xgroup_create(KEY, "p33", "1-0")
    (one,) = lag_reading.look(db, [KEY], limit=150)
    assert (one.entries, one.exactness) == (150, "atleast")
    (one,) = lag_reading.look(db, [KEY], limit=299)
    assert (one.entries, one.exactness) == (299, "counted")
