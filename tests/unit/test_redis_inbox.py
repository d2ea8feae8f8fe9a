"""What travels to the server and back, and what the scripts make of it, to the last word.

On fakeredis, which runs the very Lua; the same promises on real servers stand in
tests/integration/test_promises.py.
"""

from __future__ import annotations

from typing import Any

import pytest
import redis

from quantum_ops import client, streams
from quantum_ops.effects import Effects
from quantum_ops.events import AuditFinding, DeadLetter
from quantum_ops.inbox import GroupGoneError, GroupMadeAnew, Letter, Receipt, Settlement
from quantum_ops.outcome import LOST
from quantum_ops.redis_inbox import CLAIM_PAGE, RedisInbox
from quantum_ops.replicas import Replicas
from tests.backends import RedisBackend, fake

PLANS = streams.APPLY_PLAN.key
CHECKPOINT = streams.checkpoint(PLANS, "group")
ResponseError = redis.exceptions.ResponseError


class Place:
    """A server with a group, and inboxes on it."""

    def __init__(self) -> None:
        self.backend: RedisBackend = fake()
        self.db = self.backend.db
        self.me = self.inbox("me")
        self.me.ensure_groups()

    def inbox(self, name: str) -> RedisInbox:
        return self.backend.inbox((PLANS,), "group", name)

    def add(self, *ids: str, flat: tuple = (b"plan_id", b"a")) -> list[bytes]:
        """Entries of these ids, read by ``me``."""
        for id_ in ids:
            self.db.execute_command("XADD", PLANS, id_, *flat)
        [(_, entries)] = self.me.exchange({}, len(ids), 0)[1]
        return [entry[0] for entry in entries]

    def settle(self, inbox: RedisInbox | None = None, **settlement: Any) -> Receipt:
        return (inbox or self.me).exchange({PLANS: Settlement(**settlement)}, 0, 0)[0]

    def letters(self) -> list[tuple[str, int, str, str]]:
        return [
            (one.entry_id, one.deliveries, one.reason, one.error)
            for one in self.backend.events(DeadLetter)
        ]

    def pending(self) -> list[tuple[bytes, int]]:
        return [(one.entry_id, one.deliveries) for one in self.me.pending(PLANS, b"0-0", 1000)]


@pytest.fixture
def place() -> Place:
    return Place()


def made(*declare) -> list:
    """Commands of effects, each declared by one function."""
    effects = Effects()
    for one in declare:
        one(effects)
    return effects.commands


@pytest.mark.parametrize(
    ("ids", "acked", "written"),
    [
        # All acknowledged: as far as was read. Else: the greatest id below the first that is not.
        (["7-3", "8-0"], ["7-3", "8-0"], b"8-0"),
        (["7-3"], [], b"7-2"),
        (["7-3", "8-0", "9-5"], ["8-0"], b"7-2"),
        (["7-0", "8-0"], ["8-0"], b"6-18446744073709551615"),
        (["0-1"], [], b"0-0"),
    ],
)
@pytest.mark.parametrize("by_finish", [False, True])
def test_a_checkpoint_stands_just_below_the_first_that_is_not_acknowledged(
    place, ids, acked, written, by_finish
):
    place.add(*ids)
    if by_finish:
        place.settle(applied=[(id_.encode(), 1, []) for id_ in acked or ["1-1"]])
    else:
        place.settle(acks=[id_.encode() for id_ in acked])
        place.me.checkpoint()
    assert place.db.get(CHECKPOINT) == written


def test_a_checkpoint_of_a_group_that_is_gone_stays_as_it_was(place):
    place.add("5-0")
    place.me.checkpoint()
    place.backend.destroy_group(PLANS, "group")
    place.me.checkpoint()
    assert place.db.get(CHECKPOINT) == b"4-18446744073709551615"


@pytest.mark.parametrize(
    ("last", "checkpoint", "start"),
    [
        ("5-0", "5-0", "5-0"), ("5-2", "5-1", "5-1"), ("6-0", "5-9", "5-9"),
        # The stream began anew: its newest id is below what was acknowledged once.
        ("5-1", "5-2", "0-0"), ("4-9", "5-0", "0-0"), ("4-0", "5-9", "0-0"),
    ],
)  # fmt: skip
def test_a_group_is_made_anew_at_its_checkpoint_unless_the_stream_began_anew(
    last, checkpoint, start
):
    place = Place()
    place.db.delete(PLANS)
    place.db.execute_command("XADD", PLANS, "1-1", "a", "b")
    if last != "1-1":
        place.db.execute_command("XADD", PLANS, last, "a", "b")
    place.db.set(CHECKPOINT, checkpoint)
    made = GroupMadeAnew(PLANS, start, checkpoint, vanished=True)
    assert place.me.ensure_groups() == [made]
    [info] = client.raw(place.db, "XINFO", "GROUPS", PLANS)
    assert info[info.index(b"last-delivered-id") + 1] == start.encode()
    # And once made it is left alone, and told of once, as it was made
    assert place.me.ensure_groups() == []
    [told] = place.backend.events(AuditFinding)
    assert told.detail == (
        f"the consumer group had vanished; made anew at {start} (its checkpoint was {checkpoint})"
    )


def test_a_first_start_tells_nothing_and_is_known_to_have_been_from_then_on(place):
    # Given a group that was made for the first time, and looked for again
    assert place.inbox("other").ensure_groups() == []
    assert place.backend.events(AuditFinding) == []
    # When it is destroyed before anybody wrote a checkpoint, and whoever comes did not know it
    place.backend.destroy_group(PLANS, "group")
    assert place.inbox("third").ensure_groups() == [GroupMadeAnew(PLANS, "0-0", "0-0", True)]
    # Then it is told
    [told] = place.backend.events(AuditFinding)
    assert (told.finding, told.severity) == ("group_recreated", "critical")
    assert (told.auditor, told.subject) == ("runner", f"group@{PLANS}")


def test_whoever_had_a_group_on_a_server_that_was_emptied_tells_once(place):
    # Given two that had it, and a server that comes back with nothing, not even a checkpoint
    other = place.inbox("other")
    other.ensure_groups()
    place.db.flushall()
    # When both come back
    made = [place.me.ensure_groups(), other.ensure_groups()]
    # Then who makes it tells, and nobody else
    assert made == [[GroupMadeAnew(PLANS, "0-0", "", True)], []]
    [told] = place.backend.events(AuditFinding)
    assert told.detail == "the consumer group had vanished; made anew at 0-0 (no checkpoint)"
    # And the next time it is another Finding
    place.db.flushall()
    assert other.ensure_groups() == [GroupMadeAnew(PLANS, "0-0", "", True)]
    assert len(place.backend.events(AuditFinding)) == 1


def test_a_server_that_takes_no_finding_gets_its_group_and_says_why_it_tells_nothing(place):
    place.db.flushall()
    place.db.set(streams.AUDIT_FINDING.key, "no stream")
    [made] = place.me.ensure_groups()
    assert made.vanished
    assert made.untold.startswith("WRONGTYPE")
    assert place.me.pending(PLANS, b"0-0", 1) == []


def test_each_kind_of_effect_of_many_entries_arrives_as_it_was_declared(place):
    # Given entries of all shapes in one settlement: no value may slip to a neighbour's place
    finding = AuditFinding(auditor="t", finding="seen", severity="info")
    shapes = [
        made(lambda to: to.set("plain", "1")),
        made(lambda to: to.set("short", "2", ttl_s=60), lambda to: to.incr("count", 5)),
        made(lambda to: to.hset("hash", {"a": "1", "b": "2"}), lambda to: to.publish(finding)),
        [],
        made(lambda to: to.zadd("set", "m", 1.5), lambda to: to.zadd("set", "n", 2.5),
             lambda to: to.zprune("set", 2.0), lambda to: to.delete("plain")),
        made(lambda to: to.set("last", "3")),
    ]  # fmt: skip
    ids = place.add(*(f"{number}-0" for number in range(1, 7)))
    receipt = place.settle(applied=[(id_, 1, one) for id_, one in zip(ids, shapes, strict=True)])
    assert receipt == Receipt(acked=6)
    assert place.db.get("plain") is None
    assert (place.db.get("short"), place.db.get("last")) == (b"2", b"3")
    assert 0 < place.db.ttl("short") <= 60
    assert place.db.ttl("last") == -1
    assert place.db.get("count") == b"5"
    assert place.db.hgetall("hash") == {b"a": b"1", b"b": b"2"}
    assert place.db.zrange("set", 0, -1) == [b"n"]
    assert place.backend.events(AuditFinding) == [finding]
    # And settled once more, by a process that slept, none of it happens again
    again = place.settle(applied=[(id_, 1, one) for id_, one in zip(ids, shapes, strict=True)])
    assert again == Receipt(fenced=6)
    assert place.db.get("count") == b"5"


def test_letters_are_told_with_their_entry_and_counted_once(place):
    ids = place.add("1-0", "2-0", "3-0", flat=(b"plan_id", b"\xff", b"odd", b""))
    letters = [Letter(ids[0], 2, "rejected", "first"), Letter(ids[1], 3, "undecodable", "second"),
               Letter(ids[2], 2, "rejected", "third")]  # fmt: skip
    assert place.settle(letters=letters) == Receipt(buried=3)
    assert place.letters() == [
        ("1-0", 2, "rejected", "first"), ("2-0", 3, "undecodable", "second"),
        ("3-0", 2, "rejected", "third"),
    ]  # fmt: skip
    told = place.backend.events(DeadLetter)[0]
    assert (told.group, told.consumer, told.stream) == ("group", "me", PLANS)
    assert told.event_id == f"group/{PLANS}/1-0"
    assert told.occurred_at.year >= 2025
    flat = place.backend.entries(streams.DEAD_LETTER.key)[0][1]
    assert flat[-4:] == [b"original.plan_id", b"\xff", b"original.odd", b""]
    # And whoever comes too late buries nothing
    assert place.settle(letters=letters) == Receipt(fenced=3)
    assert len(place.letters()) == 3


@pytest.mark.parametrize(("fields", "copied"), [(3_500, True), (3_501, False)])
def test_an_entry_of_more_fields_than_a_call_carries_is_kept_where_it_is(place, fields, copied):
    flat = [part for number in range(fields) for part in (b"n%d" % number, b"v")]
    [id_] = place.add("1-0", flat=tuple(flat))
    place.settle(letters=[Letter(id_, 1, "rejected", "too much")])
    assert place.letters() == [("1-0", 1, "rejected", "too much")]
    [(_, told)] = place.backend.entries(streams.DEAD_LETTER.key)
    assert (b"original.n%d" % (fields - 1) in told) is copied
    assert (told[-2:] == [b"original_kept_in_stream", b"true"]) is not copied


def test_a_claim_of_a_key_that_stands_alone_claims_it_too(place):
    ids = place.add("1-0", "2-0", "3-0")
    claims = [made(lambda to, value=value: to.first("key", value, ttl_s=60)) for value in "aab"]
    receipt = place.settle(applied=[(id_, 1, one) for id_, one in zip(ids, claims, strict=True)])
    assert receipt == Receipt(acked=2, skipped=1, again=[(PLANS, b"3-0")])
    assert place.db.get("key") == b"a"
    assert 0 < place.db.ttl("key") <= 60


def test_what_is_put_back_leaves_its_neighbours_effects_where_they_belong(place):
    # Given an entry that claims a key for another value, with effects of many values behind it
    ids = place.add("1-0", "2-0", "3-0")
    place.db.set("key", "taken")
    refused = made(lambda to: to.first("key", "mine", ttl_s=60),
                   lambda to: to.hset("hash", {"a": "1", "b": "2"}),
                   lambda to: to.set("permit", "granted", ttl_s=60))  # fmt: skip
    receipt = place.settle(
        applied=[
            (ids[0], 1, made(lambda to: to.incr("before", 2))),
            (ids[1], 3, refused),
            (ids[2], 1, made(lambda to: to.incr("after", 7))),
        ]
    )
    # Then it is pending as it was, and the others' values are their own
    assert receipt == Receipt(acked=2, again=[(PLANS, b"2-0")])
    assert (place.db.get("before"), place.db.get("after")) == (b"2", b"7")
    assert place.db.exists("hash", "permit") == 0
    assert place.pending() == [(b"2-0", 3)]


def test_a_burial_among_effects_is_made_whether_or_not_the_others_are(place):
    ids = place.add("1-0", "2-0", "3-0")
    once = made(lambda to: to.once("seen", ttl_s=60))
    for number, id_ in enumerate(ids):
        told = made(lambda to: to.incr("count"))
        bury = [(("BURY", 2, ()), streams.DEAD_LETTER.key, ("rejected", f"no {number}"))]
        commands = (bury + once + told) if number == 0 else (once + bury + told)
        receipt = place.settle(applied=[(id_, number + 1, commands)])
        assert receipt == Receipt(acked=1, buried=1, skipped=int(number > 0))
    assert place.db.get("count") == b"1"
    assert place.letters() == [
        ("1-0", 1, "rejected", "no 0"), ("2-0", 2, "rejected", "no 1"),
        ("3-0", 3, "rejected", "no 2"),
    ]  # fmt: skip


def test_effects_that_are_refused_are_named_each_with_its_entry(place):
    place.db.set("text", "a string")
    ids = place.add("1-0", "2-0", "3-0")
    bad = made(lambda to: to.hset("text", {"a": "1"}), lambda to: to.incr("never"))
    good = made(lambda to: to.incr("count"))
    receipt = place.settle(applied=[(ids[0], 1, bad), (ids[1], 1, good), (ids[2], 4, bad)])
    assert [id_ for id_, _ in receipt.failed] == [b"1-0", b"3-0"]
    assert all("WRONGTYPE" in error for _, error in receipt.failed)
    assert (receipt.acked, receipt.buried, receipt.skipped) == (3, 0, 0)
    assert [one[:3] for one in place.letters()] == [
        ("1-0", 1, "effect_failed"), ("3-0", 4, "effect_failed"),
    ]  # fmt: skip
    assert place.letters()[0][3].startswith("HSET text: ")
    assert (place.db.get("count"), place.db.get("never")) == (b"1", None)


def test_a_claim_takes_all_pages_and_tells_of_what_is_lost(place):
    # Given more than two pages that another process left, one of them without its payload
    count = 2 * CLAIM_PAGE + 50
    ids = place.add(*(f"{number}-0" for number in range(1, count + 1)))
    lost = ids.pop(CLAIM_PAGE + 7)
    place.db.xdel(PLANS, lost)
    other = place.inbox("other")
    claimed = other.claim(PLANS, 0)
    assert claimed.entry_ids == ids
    assert claimed.lost == [lost]
    assert place.letters() == [(lost.decode(), 0, "payload_lost", LOST)]
    told = place.backend.events(DeadLetter)[0]
    assert (told.group, told.consumer, told.stream) == ("group", "other", PLANS)
    assert told.occurred_at.year >= 2025


class Replicated:
    """A line on which WAIT is answered by ``answer``, and what it looks like then is noted."""

    def __init__(self, line: Any, answer: int, look: Any) -> None:
        self._line = line
        self._answer = answer
        self._look = look
        self.seen: list[Any] = []

    def write(self, commands: list) -> None:
        for command in commands:
            if command[0] == "WAIT":
                self.seen.append((command, self._look()))
        plain = [("EVAL", f"return {self._answer}", 0) if one[0] == "WAIT" else one
                 for one in commands]  # fmt: skip
        self._line.write(plain)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._line, name)


def granted(key: str, otherwise: str) -> list:
    instead = Effects()
    instead.set(f"denied:{key}", otherwise, ttl_s=60)
    return made(lambda to: to.incr("count"), lambda to: to.set_replicated(
        key, "yes", ttl_s=60, otherwise=instead))  # fmt: skip


@pytest.mark.parametrize("have", [2, 1])
@pytest.mark.parametrize("sent", ["exchange", "submit"])
def test_a_permit_is_seen_once_enough_replicas_have_it_or_never(place, have, sent):
    # Given permits that two replicas must have
    ids = place.add("1-0", "2-0")
    line = place.me._line = Replicated(
        place.me._line, have, lambda: [place.db.get(one) for one in ("a", "b", "count")]
    )
    place.me._replicas = Replicas(2, 700)
    settled = {PLANS: Settlement(applied=[(ids[0], 1, granted("a", "x")),
                                          (ids[1], 1, granted("b", "y"))])}  # fmt: skip
    if sent == "submit":
        place.me.submit(settled)
        receipt, batches = place.me.exchange({}, 0, 0)
    else:
        receipt, batches = place.me.exchange(settled, 0, 0)
    # Then nobody sees one while the replicas are waited for
    assert line.seen == [(("WAIT", 2, 700), [None, None, b"2"])]
    assert batches == []
    shown = [place.db.get(one) for one in ("a", "b", "denied:a", "denied:b")]
    if have == 2:
        assert receipt == Receipt(acked=2)
        assert shown == [b"yes", b"yes", None, None]
    else:
        assert receipt == Receipt(acked=2, withdrawn=2)
        assert shown == [None, None, b"x", b"y"]
        assert 50 < place.db.ttl("denied:b") <= 60
    # And nothing is left where it was held back, and nothing is heard of twice
    assert place.db.exists(*(streams.unreplicated(one) for one in "ab")) == 0
    assert place.me.exchange({}, 0, 0)[0] == Receipt()


def test_what_needs_no_replica_waits_for_none(place):
    ids = place.add("1-0")
    line = place.me._line = Replicated(place.me._line, 0, lambda: None)
    place.me._replicas = Replicas(2, 700)
    receipt = place.settle(applied=[(ids[0], 1, made(lambda to: to.incr("count")))])
    assert receipt == Receipt(acked=1)
    assert (line.seen, place.db.get("count")) == ([], b"1")


class Scripted:
    """A line with replies of its own."""

    def __init__(self, *replies: Any) -> None:
        self.replies = list(replies)
        self.written: list[tuple] = []

    def write(self, commands: list) -> None:
        self.written += commands

    def read(self) -> Any:
        return self.replies.pop(0)


def answered(place: Place, *replies: Any) -> tuple[RedisInbox, Scripted]:
    inbox = place.inbox("me")
    line = inbox._line = Scripted(*replies)
    return inbox, line


ASKING = {
    "read": lambda inbox: inbox.exchange({}, 10, 0),
    "pending": lambda inbox: inbox.pending(PLANS, b"0-0", 10),
    "reread": lambda inbox: inbox.reread(PLANS, b"1-0"),
    "claim": lambda inbox: inbox.claim(PLANS, 0),
    "checkpoint": lambda inbox: inbox.checkpoint(),
}


@pytest.mark.parametrize("asked", ASKING)
@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("NOGROUP No such key or group", True),
        ("LOADING Redis is loading the dataset", False),
        ("UNBLOCKED the stream key no longer exists", None),
        ("-UNBLOCKED by force", None),
        ("the stream no longer exists", None),
    ],
)
def test_a_group_that_is_gone_is_no_other_error(place, asked, text, gone):
    # Only a read that blocks can be told of what vanishes under it
    gone = asked == "read" if gone is None else gone
    inbox, _ = answered(place, ResponseError(text))
    with pytest.raises(GroupGoneError if gone else ResponseError, match=text):
        ASKING[asked](inbox)


@pytest.mark.parametrize("kind", ["acks", "letters"])
def test_a_settlement_that_the_server_refuses_is_no_receipt(place, kind):
    row = b"1-0" if kind == "acks" else Letter(b"1-0", 1, "rejected", "no")
    inbox, _ = answered(place, ResponseError("OOM command not allowed"))
    with pytest.raises(ResponseError, match="OOM"):
        inbox.exchange({PLANS: Settlement(**{kind: [row]})}, 0, 0)


def test_what_others_had_acknowledged_is_counted_as_fenced(place):
    inbox, line = answered(place, 1)
    settled = Settlement(acks=[b"1-0", b"2-0", b"3-0"])
    assert inbox.exchange({PLANS: settled}, 0, 0)[0] == Receipt(acked=1, fenced=2)
    assert line.written == [("XACK", PLANS, "group", b"1-0", b"2-0", b"3-0")]


def test_a_receipt_of_failures_is_read_pair_by_pair_whatever_its_bytes(place):
    told = [2, 1, 3, 4, [b"1-0", b"WRONGTYPE", b"2-0", b"\xff odd"], [b"9-0"]]
    letters = {PLANS: Settlement(letters=[Letter(b"1-0", 1, "rejected", "no")])}
    inbox, _ = answered(place, told)
    assert inbox.exchange(letters, 0, 0)[0] == Receipt(
        acked=2, fenced=1, buried=3, skipped=4, again=[(PLANS, b"9-0")],
        failed=[(b"1-0", "WRONGTYPE"), (b"2-0", "� odd")],
    )  # fmt: skip
    inbox, _ = answered(place, [1, 0, 0, 0, [b"1-0"], []])
    with pytest.raises(ValueError, match="zip"):
        inbox.exchange(letters, 0, 0)


def test_a_read_blocks_only_if_it_may_wait(place):
    inbox, line = answered(place, None, None, None)
    inbox.exchange({}, 10, 500)
    inbox.exchange({}, 10, 0)
    inbox.read_ahead(10)
    block = [one[one.index("BLOCK") + 1] if "BLOCK" in one else None for one in line.written]
    assert block == [500, None, None]
    assert line.written[0][:6] == ("XREADGROUP", "GROUP", "group", "me", "COUNT", 10)
    assert line.written[0][-3:] == ("STREAMS", PLANS, ">")
