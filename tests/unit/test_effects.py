"""What a handler declares, as Redis is told it, and what it may not declare."""

from __future__ import annotations

import pytest

from quantum_ops import codec, effects, streams
from quantum_ops.effects import MAX_ARGUMENTS, Effects, bury, spelt
from quantum_ops.events import ApplyPlan, AuditFinding


def words(declare) -> list[list]:
    """The Redis commands, in words, of what ``declare`` does to new effects."""
    made = Effects()
    declare(made)
    for (name, size, _), _, values in made.commands:
        # The script counts on it: so many values of this entry belong to this command.
        assert size == len(values), name
    return [spelt(command) for command in made.commands]


@pytest.mark.parametrize(
    ("declare", "told"),
    [
        (lambda to: to.set("k", "v"), ["SET", "k", "v"]),
        (lambda to: to.set("k", b"v", ttl_s=60), ["SET", "k", b"v", "EX", 60]),
        (lambda to: to.set("k", "v", ttl_s=0), ["SET", "k", "v", "EX", 0]),
        (lambda to: to.once("k", ttl_s=9), ["ONCE", "k", "1", 9]),
        (lambda to: to.once("k", "v", ttl_s=9), ["ONCE", "k", "v", 9]),
        (lambda to: to.first("k", "v", ttl_s=9), ["FIRST", "k", "v", 9]),
        (lambda to: to.hset("k", {"a": "1"}), ["HSET", "k", "a", "1"]),
        (lambda to: to.hset("k", {"a": "1", "b": "2"}), ["HSET", "k", "a", "1", "b", "2"]),
        (lambda to: to.hsetnx("k", "a", "1"), ["HSETNX", "k", "a", "1"]),
        (lambda to: to.hdel("k", "a", "b"), ["HDEL", "k", "a", "b"]),
        (lambda to: to.incr("k"), ["INCRBY", "k", 1]),
        (lambda to: to.incr("k", -5), ["INCRBY", "k", -5]),
        (lambda to: to.hincr("k", "a"), ["HINCRBY", "k", "a", 1]),
        (lambda to: to.hincr("k", "a", 7), ["HINCRBY", "k", "a", 7]),
        (lambda to: to.zadd("k", "m", 1.5), ["ZADD", "k", 1.5, "m"]),
        (lambda to: to.zrem("k", "m", "n"), ["ZREM", "k", "m", "n"]),
        # "(": a member whose score is the bound itself stays.
        (lambda to: to.zprune("k", 1.5), ["ZREMRANGEBYSCORE", "k", "-inf", "(1.5"]),
        (lambda to: to.expire("k", 60), ["EXPIRE", "k", 60]),
        (lambda to: to.delete("k"), ["DEL", "k"]),
    ],
)
def test_each_effect_is_one_command_with_its_key_in_front(declare, told):
    assert words(declare) == [told]


def test_effects_are_told_in_the_order_in_which_they_were_declared():
    def declare(to: Effects) -> None:
        to.first("decided", "x", ttl_s=9)
        to.incr("one")
        to.once("told", ttl_s=9)
        to.incr("two")

    assert [told[:2] for told in words(declare)] == [
        ["FIRST", "decided"], ["INCRBY", "one"], ["ONCE", "told"], ["INCRBY", "two"],
    ]  # fmt: skip


def test_a_published_event_is_appended_under_an_id_of_the_server_with_all_its_fields():
    # Given events of two types, of which one is ours and one carries no schema of its own
    finding = AuditFinding(auditor="t", finding="seen", severity="info")
    [told] = words(lambda to: to.publish(finding))
    # Then the command is the entry that a publisher would have written
    assert told[:3] == ["XADD", streams.AUDIT_FINDING.key, "*"]
    assert told[3:5] == ["schema", AuditFinding.schema]
    written = [part if isinstance(part, bytes) else str(part).encode() for part in told[3:]]
    assert codec.decoder(AuditFinding)(written) == finding
    assert set(zip(written[::2], written[1::2], strict=True)) == set(
        zip(codec.encode(finding)[::2], codec.encode(finding)[1::2], strict=True)
    )


def test_names_of_a_published_event_without_a_schema_follow_the_id_at_once():
    assert effects._adding("", (b"a", b"b")) == ("XADD", 2, (1, "*", b"a", b"b"))


def test_names_and_values_that_do_not_fit_are_never_told():
    with pytest.raises(ValueError, match="zip"):
        spelt((("XADD", 1, (1, "*", b"a", b"b")), "k", ("1",)))


def test_the_trading_side_is_never_written():
    made = Effects()
    with pytest.raises(PermissionError, match=r"apply\.plan belongs to the trading side"):
        made.publish(ApplyPlan(plan_id="a", decision="EXECUTE"))
    assert made.commands == []


def test_first_comes_first_or_is_refused():
    made = Effects()
    made.incr("k")
    with pytest.raises(ValueError, match="declare it before them"):
        made.first("decided", "x", ttl_s=9)
    assert len(made.commands) == 1


def test_a_hash_that_one_call_cannot_carry_is_refused_before_it_is_sent():
    most = {str(number): "v" for number in range(MAX_ARGUMENTS // 2)}
    # Given as many fields as fit, that are told whole
    assert len(words(lambda to: to.hset("k", most))[0]) == 2 + MAX_ARGUMENTS
    made = Effects()
    with pytest.raises(ValueError, match=f"k: {len(most) + 1} fields; split"):
        made.hset("k", {**most, "more": "v"})
    assert made.commands == []
    # And unpack() of Lua has room for them
    assert MAX_ARGUMENTS < 8_000 - 100


def test_a_value_for_the_replicas_carries_what_takes_its_place_without_them():
    made, otherwise = Effects(), Effects()
    otherwise.set("permit", "denied", ttl_s=60)
    made.set_replicated("permit", "granted", ttl_s=60, otherwise=otherwise)
    assert made.commands == [
        (("REPLICATED", 1, (60, tuple(otherwise.commands))), "permit", ("granted",))
    ]


def test_a_burial_goes_to_the_dead_letter_with_its_reason():
    assert bury("rejected", "why") == (
        ("BURY", 2, ()), streams.DEAD_LETTER.key, ("rejected", "why"),
    )  # fmt: skip
