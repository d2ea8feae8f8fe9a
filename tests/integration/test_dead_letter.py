"""Dead letters on a real server: looked at, put back, dropped, and never lost."""

from __future__ import annotations

import json

import pytest
import redis

from ops.__main__ import main
from quantum_ops import streams
from quantum_ops.consumer import consumer
from quantum_ops.dead_letter import DeadLetters
from quantum_ops.errors import Reject
from quantum_ops.events import ApplyPlan, DeadLetter
from tests.backends import RedisBackend
from tests.waiting import wait_until

PLANS = streams.APPLY_PLAN.key


class Story:
    """A consumer that rejects until it is mended, and one plan that it rejected."""

    def __init__(self, server) -> None:
        self.backend = RedisBackend(server.connect)
        self.db = self.backend.db
        self.mended = False
        self.handled: list[str] = []

        @consumer(streams.APPLY_PLAN)
        def strict(event, context):
            if not self.mended:
                raise Reject("broken for now")
            self.handled.append(event.plan_id)

        self.consumer = strict
        self.entry_id = self.backend.publish(ApplyPlan(plan_id="p1", decision="EXECUTE"))
        self.runner, _ = self.backend.runner(strict)
        self.backend.settle(self.runner)
        self.letters = DeadLetters(self.db)

    def only(self):
        [stored] = self.letters.newest()
        return stored


@pytest.fixture
def story(server):
    return Story(server)


def test_requeue_delivers_the_very_entry_to_the_group_that_buried_it_and_to_no_other(story):
    # Given another group that has long handled the entry
    story.db.xgroup_create(PLANS, "other", "0")
    story.db.xreadgroup("other", "o", {PLANS: ">"})
    story.db.xack(PLANS, "other", story.entry_id)
    # When the fault is mended and the letter requeued
    story.mended = True
    assert story.letters.requeue(story.only(), "mended") == "done"
    # Then the group handles it, with its own id, and nothing was written to the trading stream
    wait_until(lambda: story.runner.step(wait=False) or story.handled, what="handled")
    story.backend.settle(story.runner)
    assert story.handled == ["p1"]
    assert story.db.xlen(PLANS) == 1
    assert story.db.xpending(PLANS, "other")["pending"] == 0
    assert story.db.xpending(PLANS, "strict")["pending"] == 0
    assert list(story.letters.newest()) == []


def test_requeue_twice_delivers_once(story):
    stored = story.only()
    assert story.letters.requeue(stored) == "done"
    assert story.letters.requeue(stored) == "already"
    assert story.letters.drop(stored, "too") == "already"


def test_acts_are_findings_that_name_who_and_why(story):
    story.letters.drop(story.only(), "test plan")
    [(_, finding)] = story.db.xrange(streams.AUDIT_FINDING.key)
    assert finding[b"finding"] == b"dead_letter_dropped"
    assert b"test plan" in finding[b"detail"]
    assert b"@" in finding[b"detail"]
    # And nothing was deleted
    assert story.db.xlen(streams.DEAD_LETTER.key) == 1
    [kept] = story.letters.newest(resolved=True)
    assert json.loads(kept.resolved)["action"] == "dropped"


def test_letter_whose_original_was_trimmed_cannot_be_requeued_but_is_kept(story):
    story.db.xdel(PLANS, story.entry_id)
    stored = story.only()
    assert story.letters.requeue(stored) == "gone"
    assert dict(stored.original)[b"plan_id"] == b"p1"


def test_entries_of_strangers_in_the_stream_are_passed_over(story):
    story.db.xadd(streams.DEAD_LETTER.key, {"hello": "world"})
    assert story.only().letter.reason == "rejected"


def test_newest_pages_through_many_letters(server):
    story = Story(server)
    for number in range(450):
        story.backend.publish(ApplyPlan(plan_id=f"n{number}", decision="EXECUTE"))
    story.backend.settle(story.runner)
    found = list(story.letters.newest(limit=1000))
    assert len(found) == 451
    assert dict(found[0].original)[b"plan_id"] == b"n449"


def run(monkeypatch, server, *argv: str) -> int:
    monkeypatch.setenv("REDIS_URL", server.url)
    return main(["dlq", *argv])


def test_verb_lists_shows_requeues_and_drops(story, server, monkeypatch, capsys):
    letter_id = story.only().letter_id
    assert run(monkeypatch, server, "list") == 0
    assert f"{letter_id}  strict  rejected  apply.plan" in capsys.readouterr().out
    assert run(monkeypatch, server, "list", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["id"], told["original"][0]) == (letter_id, ["plan_id", "p1"])
    assert run(monkeypatch, server, "list", "--group", "nobody") == 0
    assert capsys.readouterr().out == ""
    assert run(monkeypatch, server, "show", letter_id) == 0
    shown = capsys.readouterr().out
    assert "reason      rejected" in shown
    assert "plan_id = p1" in shown
    assert run(monkeypatch, server, "requeue", letter_id, "--why", "mended") == 0
    assert capsys.readouterr().out == f"{letter_id} requeued\n"
    assert run(monkeypatch, server, "requeue", letter_id) == 0
    assert "resolved before" in capsys.readouterr().err


def test_verb_says_what_is_wrong(story, server, monkeypatch, capsys):
    assert run(monkeypatch, server, "show", "1-1") == 4
    assert "no such dead letter" in capsys.readouterr().err
    assert run(monkeypatch, server, "requeue", "1-1") == 4
    assert run(monkeypatch, server, "requeue") == 2


def test_hostile_bytes_are_shown_escaped_and_valid_json(server, monkeypatch, capsys):
    story = Story(server)
    story.backend.add(PLANS, [b"plan_id", b"\xff\x1b[2J", b"decision", b"a\nb"])
    story.backend.settle(story.runner)
    letter_id = next(iter(story.letters.newest())).letter_id
    run(monkeypatch, server, "show", letter_id)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\\xff\\x1b[2J" in out
    run(monkeypatch, server, "show", letter_id, "--json")
    assert json.loads(capsys.readouterr().out)["original"][0][1] == {"base64": "/xtbMko="}


def test_a_letter_that_names_what_is_not_there_holds_up_no_other(
    story, server, monkeypatch, capsys
):
    # Given letters that somebody wrote who may append there: about no stream, no group, no id
    good = story.only()
    for stream, group, entry_id in (
        ("quantum:ops:heartbeat:p33:0", "strict", story.entry_id.decode()),
        (PLANS, "nobody", story.entry_id.decode()),
        (PLANS, "strict", "garbage"),
    ):
        story.db.hset("quantum:ops:heartbeat:p33:0", "f", "v")
        story.backend.publish(
            DeadLetter(
                stream=stream, group=group, consumer="c", entry_id=entry_id, deliveries=1,
                reason="r", error="e",
            )
        )  # fmt: skip
    # When all are put back
    assert run(monkeypatch, server, "requeue", "--all") == 4
    told = capsys.readouterr()
    # Then each of these is named, and the honest one behind them is back
    assert told.err.count("cannot be requeued: ") == 3
    assert f"{good.letter_id} requeued" in told.out
    # And they can be settled
    left = [stored.letter_id for stored in story.letters.newest()]
    assert run(monkeypatch, server, "drop", *left, "--why", "forged") == 0
    assert list(story.letters.newest()) == []


HIGHEST = f"{2**64 - 1}-{2**64 - 1}"


def _no_stream(db) -> None:
    db.set(streams.DEAD_LETTER.key, "somebody's")


def _takes_nothing(db) -> None:
    db.execute_command("XADD", streams.DEAD_LETTER.key, HIGHEST, "a", "b")


def _takes_nothing_and_hides_it(db) -> None:
    _takes_nothing(db)
    db.xdel(streams.DEAD_LETTER.key, HIGHEST)


@pytest.mark.parametrize("spoil", [_no_stream, _takes_nothing, _takes_nothing_and_hides_it])
def test_what_cannot_be_buried_stays_pending_until_it_can(server, spoil):
    backend = RedisBackend(server.connect)

    @consumer(streams.APPLY_PLAN)
    def counter(event, context):
        context.incr("count")

    runner, _ = backend.runner(counter)
    # Given a dead letter that takes nothing, an entry that has to go there, and one that has not
    spoil(backend.db)
    bad = backend.add(PLANS, [b"plan_id", b"\xff"])
    backend.publish(ApplyPlan(plan_id="p1", decision="EXECUTE"))
    with pytest.raises(redis.ResponseError):
        backend.settle(runner)
    # Then it is neither handled nor gone: it waits
    assert backend.db.xpending(PLANS, "counter")["min"] == bad
    # When the dead letter takes entries again, and the process begins anew
    backend.db.delete(streams.DEAD_LETTER.key)
    runner, _ = backend.runner(counter)
    backend.settle(runner)
    # Then it lies there, and the other one was counted once
    [stored] = DeadLetters(backend.db).newest()
    assert stored.letter.entry_id == bad.decode()
    assert backend.get("count") == b"1"
    assert backend.pending(PLANS, "counter") == 0
