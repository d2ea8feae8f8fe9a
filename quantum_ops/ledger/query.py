"""The only place that goes through the entries, newest first, and picks those that are asked for.

The journal is read from its end and no further than the caller takes: the newest twenty cost the
same in a ledger of any length, and memory does not grow with it.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from quantum_ops.ledger import moment, render, summary
from quantum_ops.ledger.folder import Folder
from quantum_ops.ledger.index import LEGACY, RECORDED
from quantum_ops.ledger.journal import Journal
from quantum_ops.ledger.summary import Summary


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which entries: all that keep every condition that is given.

    ``since`` and ``before`` are about when the operation was done. ``service`` is a name or a
    pattern such as ``quantum-*``. ``text`` may stand in any field, in capitals or not.
    """

    since: datetime | None = None
    before: datetime | None = None
    service: str = ""
    risk: str = ""
    outcome: str = ""
    text: str = ""
    kinds: frozenset[str] = frozenset()

    def takes(self, one: Summary, fields: Mapping[str, Any]) -> bool:
        """Whether this entry is wanted; ``fields`` is all that it says."""
        return (
            (not self.kinds or one.kind in self.kinds)
            and (not self.risk or one.risk_class == self.risk)
            and (not self.outcome or one.outcome == self.outcome)
            and self._in_time(one)
            and (not self.service or self._of_service(one, fields))
            and (not self.text or _holds(fields, self.text.casefold()))
        )

    def _in_time(self, one: Summary) -> bool:
        if not self.since and not self.before:
            return True
        if not one.occurred_at:
            return False
        # The ledger's text of a moment sorts as moments do; but bounds have fractions of seconds.
        at = moment.parse(one.occurred_at)
        return (not self.since or at >= self.since) and (not self.before or at < self.before)

    def _of_service(self, one: Summary, fields: Mapping[str, Any]) -> bool:
        status = fields.get("services_status")
        names = [*one.services, *(status if isinstance(status, Mapping) else ())]
        return any(fnmatch.fnmatchcase(name, self.service) for name in names)


EVERYTHING = Wanted()


def newest(folder: Folder, wanted: Wanted = EVERYTHING) -> Iterator[Summary]:
    """The entries that are wanted, newest first by their record; those of before the ledger last.

    Takes no lock. An entry that is appended meanwhile may be missing.

    Raises:
        ValueError: if a line is none of a journal; ``ledger verify`` tells which and why.
        OSError: if the journal cannot be read.
    """
    rollbacks: dict[str, list[str]] = {}
    legacy: list[dict[str, Any]] = []
    for line in Journal(folder).backwards():
        record = render.parsed(line)
        if record["type"] == LEGACY:
            legacy.append(record)
            continue
        try:
            one = _shown(record, rollbacks)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"record {record['seq']}: not as ours are ({error!r}); run: ./run ledger verify"
            ) from None
        if wanted.takes(one, record["data"].get("rejected") or record["data"]):
            yield one
    for before, fields in summary.adopted(legacy):
        found = replace(before, rolled_back_by=_taken(rollbacks, before.id))
        if wanted.takes(found, fields):
            yield found


def _shown(record: Mapping[str, Any], rollbacks: dict[str, list[str]]) -> Summary:
    by = _taken(rollbacks, record["id"]) if record["type"] == RECORDED else ()
    undone = summary.undone(record)
    if undone:  # from here on back: what it names and what is older, never itself
        rollbacks.setdefault(undone, []).append(record["id"])
    return summary.of(record, by)


def _taken(rollbacks: dict[str, list[str]], operation_id: str) -> tuple[str, ...]:
    """What rolled this operation back, oldest first; nothing older can name it any more."""
    return tuple(rollbacks.pop(operation_id, ())[::-1])


def _holds(value: Any, text: str) -> bool:
    if type(value) is str:
        return text in value.casefold()
    if isinstance(value, dict):
        return any(_holds(one, text) for pair in value.items() for one in pair)
    if isinstance(value, list):
        return any(_holds(one, text) for one in value)
    return text in str(value).casefold()
