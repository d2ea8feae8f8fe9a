"""When entries in hand are renewed, and what becomes of them on the server then."""

from __future__ import annotations

from typing import Any

import pytest

from quantum_ops import client, streams
from quantum_ops.lease import Lease
from tests.backends import RedisBackend, fake

PLANS = streams.APPLY_PLAN.key
LASTS_S = 30.0
"""Half of the minute after which others may claim."""


class Hands:
    """An inbox that notes what it is to renew, and holds all but ``lost``."""

    def __init__(self, *lost: bytes) -> None:
        self.asked: list[tuple[str, list[bytes]]] = []
        self._lost = set(lost)

    def renew(self, stream: str, ids: list[bytes]) -> set[bytes]:
        self.asked.append((stream, ids))
        return set(ids) - self._lost


def begun(*lost: bytes, asked_s: float = 100.0) -> tuple[Lease, Any]:
    hands: Any = Hands(*lost)
    lease = Lease(hands, 2 * LASTS_S)
    lease.begin([PLANS, "other"], asked_s)
    return lease, hands


def test_entries_are_renewed_once_half_of_their_time_is_over_and_again_after_as_long():
    # Given entries that were asked for at 100 s, and may be claimed after a minute
    lease, hands = begun()
    entries = [[b"1-0", []]]
    for now_s in (100.0, 129.9):
        assert lease.keep(PLANS, entries, None, now_s) == (entries, None)
    assert hands.asked == []
    # When half of it is over
    lease.keep(PLANS, entries, None, 130.0)
    assert hands.asked == [(PLANS, [b"1-0"])]
    # Then they are young again, for as long
    lease.keep(PLANS, entries, None, 159.9)
    assert len(hands.asked) == 1
    lease.keep(PLANS, entries, None, 160.0)
    assert len(hands.asked) == 2
    # And those of another stream are as old as they were
    lease.keep("other", entries, None, 160.0)
    assert hands.asked[2:] == [("other", [b"1-0"])]


def test_what_another_process_has_is_taken_out_with_its_event():
    lease, _ = begun(b"2-0")
    entries = [[b"1-0", []], [b"2-0", []], [b"3-0", []]]
    assert lease.keep(PLANS, entries, ["a", "b", "c"], 130.0) == (
        [[b"1-0", []], [b"3-0", []]], ["a", "c"],
    )  # fmt: skip


def test_nobody_is_asked_for_nothing_and_an_event_too_few_is_a_bug():
    lease, hands = begun()
    assert lease.keep("never read", [], None, 1e9) == ([], None)
    assert hands.asked == []
    with pytest.raises(ValueError, match="shorter"):
        lease.keep(PLANS, [[b"1-0", []], [b"2-0", []]], ["a"], 130.0)


def test_renewed_entries_are_young_uncharged_and_still_ours_and_others_are_left_alone():
    # Given entries that have lain for a day: three of ours, of which one lost its payload, and
    # one that somebody else has
    backend: RedisBackend = fake()
    me, other = (backend.inbox((PLANS,), "group", name) for name in ("me", "other"))
    me.ensure_groups()
    for number in range(1, 5):
        backend.db.execute_command("XADD", PLANS, f"{number}-0", "plan_id", "a")
    me.exchange({}, 3, 0)
    other.exchange({}, 1, 0)
    for name, ids in (("me", ("1-0", "2-0", "3-0")), ("other", ("4-0",))):
        command = ("XCLAIM", PLANS, "group", name, 0, *ids, "IDLE", 86_400_000, "JUSTID")
        client.raw(backend.db, *command)
    backend.db.xdel(PLANS, "2-0")
    # When they are renewed
    lease = Lease(me, 2 * LASTS_S)
    lease.begin([PLANS], 0.0)
    entries = [[b"%d-0" % number, []] for number in (1, 2, 3, 4, 9)]
    assert lease.keep(PLANS, entries, None, LASTS_S) == (entries[:3], None)
    # Then what has a payload is young, and what has none waits for whoever records it as lost
    rows = client.raw(backend.db, "XPENDING", PLANS, "group", "-", "+", 10)
    assert [(row[0], row[1], row[2] < 60_000, row[3]) for row in rows] == [
        (b"1-0", b"me", True, 1), (b"2-0", b"me", False, 1), (b"3-0", b"me", True, 1),
        (b"4-0", b"other", False, 1),
    ]  # fmt: skip
