"""The kit that consumers' own tests stand on: drive() with steered time."""

from __future__ import annotations

import time

from freezegun import freeze_time

from quantum_ops import streams
from quantum_ops.consumer import consumer
from quantum_ops.errors import Reject, Retry
from quantum_ops.events import ApplyPlan, AuditFinding
from quantum_ops.testing import drive


def plan(plan_id: str) -> ApplyPlan:
    return ApplyPlan(plan_id=plan_id, decision="EXECUTE")


def test_drive_follows_retries_to_their_end_and_moves_frozen_time():
    moments = []

    @consumer(streams.APPLY_PLAN)
    def patient(event, context):
        moments.append(time.time())
        if context.attempt < 3:
            raise Retry(20)
        context.set("done", event.plan_id, ttl_s=30)

    with freeze_time("2026-11-23T12:00:00Z") as frozen:
        driven = drive(patient, [plan("a")], tick=frozen.tick)
        # Then the waits passed on the frozen clock, not on the real one
        assert [round(moment - moments[0]) for moment in moments] == [0, 20, 40]
        assert driven.get("done") == b"a"
        frozen.tick(31)
        assert driven.get("done") is None
    assert driven.pending == 0


def test_drive_tells_what_was_published_and_buried():
    @consumer(streams.APPLY_PLAN)
    def judge(event, context):
        if event.plan_id == "bad":
            raise Reject("no good")
        context.publish(AuditFinding(auditor="judge", finding="seen", severity="info"))

    driven = drive(judge, [plan("good"), plan("bad"), [b"plan_id", b"raw"]])
    assert [finding.finding for finding in driven.published(AuditFinding)] == ["seen"]
    assert [letter.reason for letter in driven.dead_letters] == ["rejected", "undecodable"]


def test_unhandled_exception_is_retried_with_growing_waits_then_buried():
    @consumer(streams.APPLY_PLAN)
    def broken(event, context):
        raise RuntimeError("boom")

    driven = drive(broken, [plan("a")])
    assert driven.observer.kinds() == ["retry"] * 4 + ["dead_letter"]
    assert driven.dead_letters[0].deliveries == 5
