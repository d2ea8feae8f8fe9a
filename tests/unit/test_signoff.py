"""What the ledger's consumer decides without a server: moments, repeats, whose evidence counts."""

from __future__ import annotations

import json
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantum_ops.errors import Reject
from quantum_ops.events import DeployCompleted
from quantum_ops.ledger import evidence as collecting
from quantum_ops.signoff import intake
from quantum_ops.signoff.evidence import Evidence
from quantum_ops.signoff.telling import Told
from tests.ledger_story import NOON, Ledger

BASE = {
    "operation": "P2.7", "objective": "o", "risk_class": "READ_ONLY", "blast_radius": "b",
    "changes_summary": "c",
}  # fmt: skip
TEXTS = st.text(min_size=1, max_size=30).filter(lambda text: text.strip() != "")


def event(**changed) -> DeployCompleted:
    return DeployCompleted(**{**BASE, **changed})


@settings(deadline=None)
@given(st.integers(min_value=0, max_value=10**15 - 1), st.text(max_size=70))
def test_what_was_told_of_is_read_back(seq, digest):
    assert Told.parse(Told(seq, digest).text()) == Told(seq, digest)


@settings(deadline=None)
@given(st.text(max_size=40))
def test_whatever_stands_in_redis_is_a_record_or_none(text):
    told = Told.parse(text)
    assert told.seq == -1 or told.seq == int(text.partition(":")[0])


@settings(deadline=None)
@given(st.integers(min_value=0, max_value=2**64 - 1), st.integers(min_value=0, max_value=2**64 - 1))
def test_an_entry_id_dates_a_deploy_only_if_it_is_a_moment_of_now_or_before(first, second):
    found = intake.moment(event(), f"{first}-{second}", NOON)
    assert intake.EPOCH < found <= NOON + intake.AHEAD
    at = intake.NEVER + timedelta(milliseconds=min(first, 2**47))
    assert found in (at, NOON)


def test_the_deploys_own_moment_counts_unless_it_lies_ahead():
    own = datetime(2026, 1, 20, 6, 15, 30, tzinfo=UTC)
    assert intake.moment(event(occurred_at=own), "1769494530123-0", NOON) == own
    intake.check(event(occurred_at=NOON + intake.AHEAD), NOON)
    with pytest.raises(Reject, match=r"occurred_at: 2026-01-28T12:00:01.000Z lies ahead of the cl"):
        intake.check(event(occurred_at=NOON + intake.AHEAD + timedelta(seconds=1)), NOON)


@settings(deadline=None, max_examples=30)
@given(
    given_id=st.sampled_from(["", "OPS-2026-01-27-009", "odd"]),
    changed=TEXTS,
    name=st.sampled_from(
        ["operation", "objective", "blast_radius", "changes_summary", "notes", "requested_by"]
    ),
)
def test_a_record_tells_of_its_own_request_and_of_no_other(
    tmp_path_factory, given_id, changed, name
):
    ledger = Ledger(tmp_path_factory.mktemp("ledger"))
    asked = intake.request(event(operation_id=given_id), "1-0", NOON, strict=False)
    [receipt] = ledger.record(asked)
    record = json.loads(receipt.line)
    assert intake.tells_of(asked, record)
    other = intake.request(
        event(operation_id=given_id, **{name: changed}), "1-0", NOON, strict=False
    )
    same = other == asked or (name == "requested_by" and changed == "SELF")
    assert intake.tells_of(other, record) == same
    apart = intake.told_apart(other)
    assert apart.stream_id.startswith("1-0#")
    assert apart == intake.told_apart(other)
    [kept] = ledger.record(apart)
    assert intake.tells_of(other, json.loads(kept.line))
    assert intake.is_told_apart(json.loads(kept.line), other) == (kept.outcome != "already")


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        ("objective: is empty; say it with --objective",
         "objective: is empty; fill in the field objective"),
        ("outcome=ROLLBACK requires --rollback_of parameter",
         "outcome=ROLLBACK requires the field rollback_of, the operation_id of what was rolled ba"),
        ("rollback_of 'x' is not in the ledger; name an operation that was recorded",
         "rollback_of 'x' is not in the ledger; name an operation that was recorded"),
    ],
)  # fmt: skip
def test_a_refusal_speaks_of_fields_not_of_arguments(problem, told):
    found = intake.refusal([problem])
    assert found.startswith(told)
    assert "--" not in found


@pytest.fixture
def collected(monkeypatch):
    """What was collected, in place of a look at this host."""
    seen = []

    def collect(wanted, now, logs):
        seen.append(wanted)
        return {"git_commit": "here", "git_branch": "main", "git_dirty": "true", "hostname": "h"}

    monkeypatch.setattr(collecting, "collect", collect)
    return seen


def evidence(**changed):
    return Evidence(Path("/"), Path("/logs"), {}, **{"stale_s": 300.0, **changed})


def test_what_events_of_a_batch_ask_alike_is_collected_once(collected):
    mine = evidence()
    for number in range(3):
        mine.of(event(allowed_services=("a",)), f"{number}-0", 1.0, NOON)
    mine.of(event(allowed_services=("b",)), "4-0", 1.0, NOON)
    assert [one.services for one in collected] == [("a",), ("b",)]
    mine.forget()
    mine.of(event(allowed_services=("b",)), "5-0", 1.0, NOON)
    assert len(collected) == 3


def test_the_event_knows_its_commit_better_than_this_checkout(collected):
    found = evidence().of(event(git_commit="abc"), "1-0", 1.0, NOON)
    assert found == {"git_commit": "abc", "hostname": "h"}
    found = evidence().of(event(git_commit="abc", git_branch="prod"), "1-0", 1.0, NOON)
    assert found["git_branch"] == "prod"
    assert evidence().of(event(), "1-0", 1.0, NOON)["git_dirty"] == "true"


def test_nothing_is_looked_at_here_for_a_deploy_of_another_host(collected):
    found = evidence().of(event(hostname="elsewhere", allowed_services=("a",)), "1-0", 1.0, NOON)
    assert collected == []
    assert (found["hostname"], found["evidence"]) == ("elsewhere", "incomplete")
    assert "the deploy was on elsewhere" in found["evidence_problems"][0]
    assert evidence().of(event(hostname="elsewhere"), "1-0", 1.0, NOON) == {"hostname": "elsewhere"}
    evidence().of(event(hostname=socket.gethostname(), allowed_services=("a",)), "1-0", 1.0, NOON)
    assert len(collected) == 1


def test_evidence_that_comes_late_says_so(collected):
    asked = event(proof_path="/p")
    assert "evidence" not in evidence().of(asked, "1-0", 299.0, NOON)
    found = evidence().of(asked, "1-0", 301.0, NOON)
    assert found["evidence"] == "incomplete"
    assert "collected 301 s after the deploy" in found["evidence_problems"][0]
    # Nothing was asked for, so nothing can be of another moment
    assert "evidence" not in evidence().of(event(), "1-0", 9999.0, NOON)
