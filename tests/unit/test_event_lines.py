"""One line for people for each type of event."""

from __future__ import annotations

import unicodedata
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops import event_lines
from ops.following import Told
from ops.output import Format, plain
from ops.tail_view import View
from quantum_ops import codec, streams
from quantum_ops.events import (
    ApplyPlan,
    ApplyResult,
    AuditFinding,
    DeadLetter,
    DeployCompleted,
    LedgerRecorded,
    OpsProcess,
    PermitDecided,
    UniverseChanged,
    UniverseChecked,
)

EVENTS = {
    "EXECUTE BUY 0.5 BTCUSDT, plan a1, reduce only, from bridge": ApplyPlan(
        plan_id="a1", decision="EXECUTE", side="BUY", qty="0.5", symbol="BTCUSDT", source="bridge",
        reduce_only=True,
    ),
    "executed, BTCUSDT, plan a1, order 77": ApplyResult(
        plan_id="a1", executed=True, symbol="BTCUSDT", order_id="77"
    ),
    "p33 ALLOW BTCUSDT: fine, up to 0.5, plan a1, epoch 3": PermitDecided(
        gate="p33", plan_id="a1", symbol="BTCUSDT", allow=True, reason="fine",
        safe_qty=Decimal("0.5"), universe_epoch=3,
    ),
    "p33 deny X: no, plan a1, epoch 0": PermitDecided(
        gate="p33", plan_id="a1", symbol="X", allow=False, reason="no"
    ),
    "CRITICAL me wrong a1: look": AuditFinding(
        auditor="me", finding="wrong", severity="critical", subject="a1", detail="look"
    ),
    "epoch 2: 1 symbols, testnet, +A, -B C D E F and 1 more": UniverseChanged(
        epoch=2, prev_epoch=1, mode="testnet", asof_epoch=1, count=1, sha256="x",
        symbols_sha256="x", symbols=("A",), added=("A",), removed=("B", "C", "D", "E", "F", "G"),
    ),
    "check failed: http_5xx": UniverseChecked(outcome="failed", began_ms=1, reason="http_5xx"),
    "epoch 2: 3 symbols at the exchange, 1 differ, missing A": UniverseChecked(
        outcome="compared", began_ms=1, fresh=True, epoch=2, count=3, differing=1, missing=("A",)
    ),
    "PARTIAL 'P2.7', READ_ONLY, by me, a b, 0123456789ab": DeployCompleted(
        operation="P2.7", objective="o", risk_class="READ_ONLY", blast_radius="b",
        changes_summary="c", outcome="PARTIAL", requested_by="me", allowed_services=("a", "b"),
        git_commit="0123456789abcdef",
    ),
    "record 3: operation.recorded OPS-1, from deploy.completed 1-0, root 0123456789ab": (
        LedgerRecorded(
            seq=3, record_type="operation.recorded", operation_id="OPS-1", entry_sha256="x",
            tree_size=3, root_sha256="0123456789abcdef", source=streams.DEPLOY_COMPLETED.key,
            source_id="1-0",
        )
    ),
    "p33-00: STARTING -> RUNNING, pid 7": OpsProcess(
        program="p33", process="p33-00", from_state="STARTING", to_state="RUNNING", pid=7
    ),
    "p33 buried apply.plan 1-0: bad after 5 deliveries: ValueError: x": DeadLetter(
        stream=streams.APPLY_PLAN.key, group="p33", consumer="c", entry_id="1-0", deliveries=5,
        reason="bad", error="Traceback\nValueError: x",
    ),
}  # fmt: skip


@pytest.mark.parametrize("line", EVENTS)
def test_an_event_says_what_matters_in_one_line(line):
    event = EVENTS[line]
    assert event_lines.summary(streams.of(event).key, codec.encode(event))[0] == line


def test_every_stream_of_the_catalogue_has_its_own():
    assert {type(event) for event in EVENTS.values()} == {one.event for one in streams.CATALOGUE}


def test_what_is_no_event_is_shown_as_it_stands_there():
    flat = [b"plan_id", b"\x1b[2J", b"x\xff", "\u202eabc".encode()]
    assert event_lines.summary(streams.APPLY_PLAN.key, flat) == (
        "plan_id=\\x1b[2J  x\\xff=\\u202eabc", "warn",
    )  # fmt: skip
    assert event_lines.summary("elsewhere", [b"a", b"1"]) == ("a=1", "warn")


def test_raw_bytes_are_the_entry_s_own_except_on_a_terminal():
    entry = Told("elsewhere", (7, 0), [b"a\x1b", b"\xff\n"])
    raw = Format("raw", {})
    assert View(raw, plain, is_screen=False).line(entry) == b"7-0\ta\x1b\t\xff\n\n"
    assert View(raw, plain, is_screen=True).line(entry) == b"7-0\ta\\x1b\t\\xff\\n\n"


@given(st.sampled_from(list(EVENTS.values())), st.data())
def test_no_value_of_anybody_moves_the_cursor(event, data):
    flat = codec.encode(event)
    at = data.draw(st.integers(0, len(flat) // 2 - 1)) * 2 + 1
    flat[at] = data.draw(st.binary() | st.text().map(lambda text: text.encode("utf-8", "ignore")))
    line, _ = event_lines.summary(streams.of(event).key, flat)
    assert all(unicodedata.category(char) not in ("Cc", "Cf", "Zl", "Zp") for char in line)
