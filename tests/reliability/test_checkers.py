"""The outside checkers see what is wrong, each thing by its name, and take what may be so."""

from __future__ import annotations

import json

import pytest
import redis

from tests.reliability import checker, permits
from tests.reliability.names import BY, DEAD, EFFECTS, PERMITS, STREAM

CLEAN = {"lost": 0, "doubled": 0, "late": 0, "unexplained": 0, "pending": 0}


@pytest.fixture
def outside(valkey):
    db = redis.Redis.from_url(valkey.url, decode_responses=True, protocol=2)
    db.xgroup_create(STREAM, "counting", "0", mkstream=True)
    yield db
    db.close()


@pytest.fixture
def judged(outside, tmp_path):
    """The verdict on what stands in Redis, after these lines of a producer and of sleepers."""

    def judge(journal: str, sleepers: str = "") -> dict[str, int]:
        (tmp_path / "journal").write_text(journal, encoding="ascii")
        (tmp_path / "sleepers").write_text(sleepers, encoding="ascii")
        verdict = checker.judge(
            outside, "counting", tmp_path / "sleepers", [tmp_path / "journal"]
        )  # fmt: skip
        return {name: verdict[name] for name in CLEAN}

    return judge


def stands(db, id_: str, effects: int = 1, by: str = "1", entries: int = 1) -> None:
    for _ in range(entries):
        db.xadd(STREAM, {"plan_id": id_})
    if effects:
        db.hset(EFFECTS, id_, effects)
        db.hset(BY, id_, by)


@pytest.mark.parametrize(
    ("word", "effects", "shows"),
    [
        ("acked", 1, {}),
        ("acked", 0, {"lost": 1}),
        ("acked", 2, {"doubled": 1}),
        # Unknown: once or not at all, never twice.
        ("unknown", 1, {}),
        ("unknown", 2, {"doubled": 1}),
        ("failed", 1, {"unexplained": 1}),
    ],
)
def test_each_send_is_held_to_what_the_producer_was_told(outside, judged, word, effects, shows):
    stands(outside, "a", effects)
    assert judged(f"sent a\n{word} a\n") == {**CLEAN, **shows}


def test_what_a_killed_producer_never_classified_is_unknown_and_may_be_absent(outside, judged):
    # Given one event that never came, one that did, and a line that a kill tore
    stands(outside, "b")
    assert judged("sent a\nsent b\nacked b\nsent c") == CLEAN


def test_an_entry_that_stands_twice_is_doubled_although_it_was_counted_once(outside, judged):
    stands(outside, "a", entries=2)
    assert judged("sent a\nacked a\n") == {**CLEAN, "doubled": 1}


def test_what_nobody_sent_and_what_nobody_worked_on_is_seen(outside, judged):
    stands(outside, "ghost")
    stands(outside, "idle", effects=0)
    assert judged("sent idle\nunknown idle\n") == {**CLEAN, "unexplained": 1, "lost": 1}


def test_a_dead_letter_is_an_end_and_not_one_more(outside, judged):
    entry_id = outside.xadd(STREAM, {"plan_id": "a"})
    letter = {"group": "counting", "entry_id": entry_id, "original.plan_id": "a"}
    outside.xadd(DEAD, letter)
    assert judged("sent a\nacked a\n") == CLEAN
    stands(outside, "a", entries=0)
    assert judged("sent a\nacked a\n") == {**CLEAN, "doubled": 1}


@pytest.mark.parametrize("content", [{}, {"original.plan_id": "b"}])
def test_a_dead_letter_without_the_bytes_of_its_entry_is_a_loss(outside, judged, content):
    entry_id = outside.xadd(STREAM, {"plan_id": "a"})
    outside.xadd(DEAD, {"group": "counting", "entry_id": entry_id, **content})
    assert judged("sent a\nacked a\n") == {**CLEAN, "lost": 1}


def test_an_effect_under_another_id_and_half_an_effect_are_seen(outside, judged):
    # Given two events, of which the effect of one was booked to the other
    stands(outside, "a", effects=2)
    stands(outside, "b", effects=0)
    assert judged("sent a\nacked a\nsent b\nacked b\n") == {**CLEAN, "lost": 1, "doubled": 1}
    # And one that was counted, while nobody says who did it
    outside.delete(EFFECTS, BY)
    outside.hset(EFFECTS, mapping={"a": 1, "b": 1})
    outside.hset(BY, "a", "1")
    assert judged("sent a\nacked a\nsent b\nacked b\n") == {**CLEAN, "unexplained": 1}


def test_a_sleeper_that_overwrites_what_others_did_is_late(outside, judged):
    stands(outside, "a", by="7")
    assert judged("sent a\nacked a\n", "5 a 7\n") == CLEAN
    # Counted once, and done by whoever had slept
    outside.hset(BY, "a", "5")
    assert judged("sent a\nacked a\n", "5 a 7\n") == {**CLEAN, "late": 1}


def test_what_stays_with_a_consumer_is_pending(outside, judged):
    stands(outside, "a")
    outside.xreadgroup("counting", "one", {STREAM: ">"})
    assert judged("sent a\nacked a\n") == {**CLEAN, "pending": 1}


def test_a_permit_that_allows_and_that_no_decision_tells_of_is_seen(outside, tmp_path):
    # Given a denial, a permit that is told of, and one that only a denial is told of
    for plan, allow in (("a", True), ("b", True), ("c", False)):
        outside.set(PERMITS + plan, json.dumps({"allow": allow}))
    told = {"a": "true", "b": "false"}
    for plan, allow in told.items():
        outside.xadd(STREAM, {"plan_id": plan, "allow": allow, "reason": "r"})
    # Then the last one is not audited, and decisions are held to what had to come
    (tmp_path / "expected").write_text(
        json.dumps({"decisions": [["a", "r"], ["d", "r"]], "letters": 0}), encoding="ascii"
    )
    verdict = permits.judge(outside, tmp_path / "expected")
    assert (verdict["allowing"], verdict["unaudited"]) == (2, 1)
    assert (verdict["lost"], verdict["unexplained"], verdict["doubled"]) == (1, 1, 0)
