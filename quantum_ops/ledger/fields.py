"""The order in which an entry's fields are shown; the only place of it.

The journal's lines are canonical JSON, which sorts names; what people read has the order of the
specification's example entries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ORDER = (
    "operation_id",
    "operation_name",
    "requested_by",
    "approved_by",
    "approval_timestamp",
    "execution_timestamp",
    "git_commit",
    "git_branch",
    "git_dirty",
    "hostname",
    "risk_class",
    "blast_radius",
    "changes_summary",
    "objective",
    "outcome",
    "rollback_of",
    "rolled_back_by",
    "allowed_paths",
    "allowed_services",
    "services_status",
    "services_logs",
    "proof_file",
    "metrics_snapshot",
    "redis_snapshot",
    "evidence",
    "evidence_problems",
    "operation_id_given",
    "validation_problems",
    "notes",
)
PROOF_ORDER = ("sha256", "sha256_full", "size_bytes", "mtime_utc")
CONFLICT_ORDER = ("record", "operation_id", "conflicts_with", "rejected")

_RANK = {name: rank for rank, name in enumerate(ORDER)}
_PROOF_RANK = {name: rank for rank, name in enumerate(PROOF_ORDER)}
_CONFLICT_RANK = {name: rank for rank, name in enumerate(CONFLICT_ORDER)}


def ordered(data: Mapping[str, Any]) -> dict[str, Any]:
    """``data`` of one entry in the order of the specification.

    Names that it does not know come last, sorted; so do the names of maps inside, except for
    ``proof_file`` and for the entry that a conflict rejected.
    """
    ranks = _CONFLICT_RANK if "record" in data else _RANK
    return {name: _inside(name, value) for name, value in _sorted(data, ranks)}


def _inside(name: str, value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if name == "rejected":
        return ordered(value)
    return dict(_sorted(value, _PROOF_RANK if name == "proof_file" else {}))


def _sorted(data: Mapping[str, Any], ranks: Mapping[str, int]) -> list[tuple[str, Any]]:
    last = len(ranks)
    return sorted(data.items(), key=lambda item: (ranks.get(item[0], last), item[0]))
