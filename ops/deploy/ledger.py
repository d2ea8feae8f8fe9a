"""The only place where a deploy reads the ledger: whether its event was recorded, and as what."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quantum_ops import streams
from quantum_ops.ledger import canonical, summary
from quantum_ops.ledger.folder import Folder
from quantum_ops.ledger.index import RECORDED
from quantum_ops.ledger.journal import Journal, Place

START = Place("", 0)
"""Before the first record."""
NOTE = "deployed={commit} before={before}"
"""How the notes of a deploy begin, for a rollback to find: 40 hex digits each, or ``none``."""
_NOTED = re.compile(r"deployed=([0-9a-f]{40}) before=([0-9a-f]{40}|none)(?:;|\Z)")


@dataclass(frozen=True, slots=True)
class Deploy:
    """A recorded operation, as far as a rollback needs it. ``commit`` is "" for any other one."""

    operation_id: str
    outcome: str
    commit: str
    before: str
    services: tuple[str, ...]
    source_id: str
    """The id that its event goes by in deploy.completed, "" if it came another way."""
    rolled_back_by: str = ""


class Records:
    """The records of one ledger; takes no lock, writes nothing.

    Raises ``ValueError`` on a line that is none of a journal, ``OSError`` if it cannot be read.
    """

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self._journal = Journal(folder)

    def end(self) -> Place:
        """Where the next record will stand, or a little before."""
        segments = self.folder.segments()
        if not segments:
            return START
        # A line that is being written just now is not whole yet: it is read again from its start.
        last = START
        for place, line in self._journal.since(Place(segments[-1].name, 0)):
            last = Place(place.segment, place.offset + len(line) + 1)
        return last if last != START else Place(segments[-1].name, 0)

    def recorded(self, source_ids: Sequence[str], since: Place = START) -> str:
        """The operation id under which a deploy.completed event stands; "" if it does not.

        ``source_ids`` are the ids it may go by: its own ``event_id`` and that of its entry.
        """
        needles = [one.encode() for one in source_ids if one]
        for _, line in self._journal.since(since):
            if not any(needle in line for needle in needles):
                continue
            of = canonical.envelope(line)
            if of.stream_id in source_ids and _is_ours(of.stream):
                return of.id
        return ""

    def deploy(self, operation_id: str) -> Deploy | None:
        """The operation of that id; None if it was not recorded by this ledger."""
        found, undone = None, ""
        needle = operation_id.encode()
        for _, line in self._journal.since(START):
            if needle not in line:
                continue
            of = canonical.envelope(line)
            if of.type != RECORDED:
                continue
            record = canonical.load(line)
            if of.id == operation_id:
                source_id = of.stream_id if _is_ours(of.stream) else ""
                found = _deploy(operation_id, record["data"], source_id)
            elif found and summary.undone(record) == operation_id:
                undone = undone or of.id
        if found is None or not undone:
            return found
        return Deploy(
            found.operation_id, found.outcome, found.commit, found.before, found.services,
            found.source_id, undone,
        )  # fmt: skip


def _is_ours(stream: str) -> bool:
    return stream in (streams.DEPLOY_COMPLETED.key, streams.DEPLOY_COMPLETED.name)


def _deploy(operation_id: str, data: Mapping[str, Any], source_id: str) -> Deploy:
    noted = _NOTED.match(str(data.get("notes", "")))
    return Deploy(
        operation_id,
        str(data.get("outcome", "")),
        noted[1] if noted else "",
        noted[2] if noted and noted[2] != "none" else "",
        tuple(data.get("allowed_services", ())),
        source_id,
    )
