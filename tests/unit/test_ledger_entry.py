"""What a record holds, field by field, and what is refused, word by word."""

from __future__ import annotations

import dataclasses

import pytest

from quantum_ops.ledger import entry
from quantum_ops.ledger.errors import InvalidEntryError
from tests.ledger_story import NOON, request

RISKS = "READ_ONLY, LOW_RISK_CONFIG, SERVICE_RESTART, FILESYSTEM_WRITE"
SECRET = "https://ops:hunter2hunter2@host/path"


def test_what_nobody_says_is_said_by_itself():
    made = request()
    assert (made.requested_by, made.approved_by, made.outcome) == ("SELF", "SELF", "SUCCESS")
    assert (made.operation_id, made.rollback_of, made.notes) == ("", "", "")
    assert (made.stream, made.stream_id, made.strict, made.occurred_at) == ("", "", False, None)
    assert entry.check(made) == []
    # And a request is what it was made as, field by field
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.notes = "changed"  # type: ignore[misc]  # that is the story
    with pytest.raises(TypeError, match="positional"):
        entry.Request("o", "o", "READ_ONLY", "b", "c")  # type: ignore[misc]  # that is the story


def test_the_data_of_a_record_has_the_names_of_the_specification():
    made = request(
        requested_by="R", approved_by="A", allowed_paths=("/a", "/b"), allowed_services=["s"],
        outcome="ROLLBACK", rollback_of="OPS-2026-01-26-001", notes="N",
        evidence={"hostname": "h", "git_commit": ""},
    )  # fmt: skip
    at = "2026-01-27T12:00:00Z"
    assert entry.data(made, "OPS-2026-01-27-001", NOON) == {
        "hostname": "h", "operation_id": "OPS-2026-01-27-001", "operation_name": "Operation 1",
        "requested_by": "R", "approved_by": "A", "approval_timestamp": at,
        "execution_timestamp": at, "risk_class": "SERVICE_RESTART", "blast_radius": "none",
        "changes_summary": made.changes_summary, "objective": "to tell a story",
        "outcome": "ROLLBACK", "rollback_of": "OPS-2026-01-26-001",
        "allowed_paths": ["/a", "/b"], "allowed_services": ["s"], "notes": "N",
    }  # fmt: skip
    # And moments that were seen elsewhere stay
    seen = {"approval_timestamp": "earlier", "execution_timestamp": "later"}
    told = entry.data(entry.with_evidence(made, seen), "OPS-2026-01-27-001", NOON)
    assert (told["approval_timestamp"], told["execution_timestamp"]) == ("earlier", "later")
    assert "hostname" not in told


def test_what_differs_from_run_to_run_makes_no_other_content():
    data = {"operation_name": "o", "notes": "n"}
    for name in (
        "approval_timestamp", "execution_timestamp", "git_commit", "git_branch", "git_dirty",
        "hostname", "services_status", "services_logs", "proof_file", "metrics_snapshot",
        "redis_snapshot", "evidence", "evidence_problems", "validation_problems", "signed_by",
    ):  # fmt: skip
        assert entry.content_digest({**data, name: "x"}) == entry.content_digest(data), name


def test_any_other_field_makes_another_content():
    data = {"operation_name": "o", "notes": "n"}
    assert entry.content_digest({**data, "notes": "m"}) != entry.content_digest(data)


def test_secrets_are_taken_out_of_texts_but_not_out_of_where_they_came_from():
    made = entry.redacted(
        request(
            notes=SECRET, evidence={"services_logs": SECRET}, stream=SECRET, stream_id=SECRET,
            occurred_at=NOON, strict=True,
        )
    )  # fmt: skip
    assert "hunter2" not in made.notes
    assert "hunter2" not in made.evidence["services_logs"]
    assert (made.stream, made.stream_id) == (SECRET, SECRET)
    assert (made.occurred_at, made.strict) == (NOON, True)
    assert made.objective == "to tell a story"


@pytest.mark.parametrize("risk", RISKS.split(", "))
def test_each_risk_class_and_each_outcome_is_known(risk):
    assert entry.check(request(risk_class=risk, outcome="PARTIAL")) == []
    assert entry.check(request(risk_class=risk)) == []
    assert entry.check(request(risk_class=risk, outcome="ROLLBACK")) == [
        "outcome=ROLLBACK requires --rollback_of parameter"
    ]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"risk_class": "HIGH"}, f"risk_class: 'HIGH' is none of {RISKS}"),
        ({"outcome": "MAYBE"}, "outcome: 'MAYBE' is none of SUCCESS, PARTIAL, ROLLBACK"),
        ({"objective": " "}, "objective: is empty; say it with --objective"),
    ],
)
def test_what_is_no_record_at_all_is_refused_with_what_would_be_one(changed, told):
    with pytest.raises(InvalidEntryError) as refused:
        entry.check(request(**changed))
    assert str(refused.value) == told


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"operation": None, "objective": None}, "operation, objective: missing"),
        ({"allowed_paths": ["/a", 1]}, "allowed_paths: missing or of a wrong type"),
        ({"allowed_services": "s"}, "allowed_services: missing or of a wrong type"),
        ({"notes": ["n"]}, "notes: missing or of a wrong type"),
    ],
)
def test_a_spooled_request_of_other_types_is_refused_by_the_names_of_its_fields(changed, named):
    good = entry.to_json(request(allowed_paths=["/a"], allowed_services=["s"], occurred_at=NOON))
    assert entry.to_json(entry.from_json(good)) == good
    with pytest.raises(InvalidEntryError, match=f"^{named}"):
        entry.from_json({**good, **changed})
