"""The order in which an entry's fields are shown; the only place of it.

The journal's lines are canonical JSON, which sorts names; what people read has the order of the
specification's example entries.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
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
    "signed_by",
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

_RANKS = {
    kind: {name: rank for rank, name in enumerate(order)}
    for kind, order in {
        "entry": ORDER, "proof_file": PROOF_ORDER, "conflict": CONFLICT_ORDER, "map": (),
    }.items()
}  # fmt: skip


def ordered(data: Mapping[str, Any]) -> dict[str, Any]:
    """``data`` of one entry in the order of the specification.

    Names that it does not know come last, sorted; so do the names of maps inside, except for
    ``proof_file`` and for the entry that a conflict rejected.
    """
    found = {}
    for name in _order(tuple(data), "conflict" if "record" in data else "entry"):
        value = data[name]
        found[name] = _inside(name, value) if isinstance(value, dict) else value
    return found


def _inside(name: str, value: dict[str, Any]) -> dict[str, Any]:
    if name == "rejected":
        return ordered(value)
    kind = "proof_file" if name == "proof_file" else "map"
    return {inner: value[inner] for inner in _order(tuple(value), kind)}


# Entries have the same few sets of names, over and over.
@lru_cache(maxsize=1024)
def _order(names: tuple[str, ...], kind: str) -> tuple[str, ...]:
    ranks = _RANKS[kind]
    return tuple(sorted(names, key=lambda name: (ranks.get(name, len(ranks)), name)))
