"""What a record says in short, whatever kind it is; the only place of it.

The fields are those that ``./run ledger list --json`` promises: none is ever renamed or removed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quantum_ops.ledger import adopt, ids, moment, render
from quantum_ops.ledger.index import CONFLICT, LEGACY, RECORDED

OPERATION, REJECTED, DRIFT, ADOPTED = "operation", "conflict", "drift", "legacy"
KINDS = (OPERATION, REJECTED, DRIFT, ADOPTED)
_KIND = {RECORDED: OPERATION, CONFLICT: REJECTED, "drift.detected": DRIFT, LEGACY: ADOPTED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One entry; ``kind`` says which of four.

    An ``operation``; a ``conflict``, which is not in force since its id belongs to record
    ``conflicts_with`` (0: to one from before the ledger); a ``drift``, a rendered ``file`` that
    somebody edited; a ``legacy`` entry of an adopted ``file``. Times are the ledger's text; ``seq``
    of a legacy entry is the first record of its file. What is not known is empty.
    """

    kind: str
    seq: int
    id: str = ""
    occurred_at: str = ""
    recorded_at: str = ""
    operation: str = ""
    risk_class: str = ""
    outcome: str = ""
    services: tuple[str, ...] = ()
    requested_by: str = ""
    approved_by: str = ""
    changes_summary: str = ""
    rollback_of: str = ""
    rolled_back_by: tuple[str, ...] = ()
    conflicts_with: int | None = None
    evidence: str = ""
    problems: tuple[str, ...] = ()
    file: str = ""
    host: str = ""
    stream: str = ""
    stream_id: str = ""

    def to_json(self) -> dict[str, Any]:
        """All fields, those that are not known as null."""
        values = ((one.name, getattr(self, one.name)) for one in _FIELDS)
        return {name: None if value == "" else value for name, value in values}


_FIELDS = dataclasses.fields(Summary)


def of(record: Mapping[str, Any], rolled_back_by: Sequence[str] = ()) -> Summary:
    """The summary of a record of the journal, but for ``legacy.imported``; see ``adopted``.

    Raises:
        KeyError, TypeError: if it is none.
    """
    data = record["data"]
    told = data["rejected"] if record["type"] == CONFLICT else data
    source = record["source"]
    return Summary(
        **_said(told),
        kind=_KIND.get(record["type"], record["type"]),
        seq=record["seq"],
        id=record["id"],
        occurred_at=record["occurred_at"],
        recorded_at=record["recorded_at"],
        rolled_back_by=tuple(rolled_back_by),
        conflicts_with=data["conflicts_with"] if record["type"] == CONFLICT else None,
        file=str(data.get("file", "")),
        host=source["host"],
        stream=source["stream"],
        stream_id=source["stream_id"],
    )


def adopted(records: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Summary, Mapping[str, Any]]]:
    """The entries that these ``legacy.imported`` records hold, newest first.

    Each comes with its fields, as they were written by hand.
    """
    files: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        files.setdefault(record["data"]["name"], []).append(record)
    found = []
    for name, parts in files.items():
        parts.sort(key=lambda part: int(part["seq"]))
        content = render.join(part["data"] for part in parts)
        for fields in adopt.entries(content):
            one = Summary(
                **_said(fields),
                kind=ADOPTED,
                seq=parts[0]["seq"],
                id=str(fields["operation_id"]),
                occurred_at=_when(fields),
                recorded_at=parts[0]["recorded_at"],
                file=name,
                host=str(fields.get("hostname", "")),
            )
            found.append((one, fields))
    # By the day and number of their ids: people wrote them in whatever order.
    return iter(sorted(found, key=lambda one: (one[0].occurred_at[:10], one[0].id), reverse=True))


def undone(record: Mapping[str, Any]) -> str:
    """The id of the operation that this record rolls back; empty if it is no rollback."""
    if record["type"] != RECORDED or record["data"].get("outcome") != "ROLLBACK":
        return ""
    return str(record["data"].get("rollback_of", ""))


def _said(data: Mapping[str, Any]) -> dict[str, Any]:
    problems = [*_texts(data.get("validation_problems")), *_texts(data.get("evidence_problems"))]
    names = ("risk_class", "outcome", "requested_by", "approved_by", "changes_summary",
             "rollback_of", "evidence")  # fmt: skip
    return {
        "operation": str(data.get("operation_name", "")),
        "services": tuple(_texts(data.get("allowed_services"))),
        "problems": tuple(problems),
        **{name: str(data.get(name) or "") for name in names},
    }


def _when(fields: Mapping[str, Any]) -> str:
    """When a hand-written operation was done: as it says, else the start of the day in its id."""
    for name in ("execution_timestamp", "approval_timestamp"):
        try:
            return moment.text(moment.parse(str(fields.get(name))))
        except ValueError:
            continue
    shown = str(fields["operation_id"])
    return f"{ids.parse(shown).day.isoformat()}T00:00:00Z" if ids.is_valid(shown) else ""


def _texts(value: Any) -> list[str]:
    if isinstance(value, (list, tuple)):
        return [str(one) for one in value]
    return [str(value)] if value else []
