"""The only place that decides what becomes of requests: recorded, a repeat, a conflict or refused.

A batch knows what it has decided itself before any of it is written, so that two requests of one
batch are treated like two of different ones.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any, Literal

from quantum_ops.ledger import adopt, canonical, entry, ids, merkle, render
from quantum_ops.ledger.entry import Request
from quantum_ops.ledger.errors import InvalidEntryError
from quantum_ops.ledger.folder import Folder
from quantum_ops.ledger.index import CONFLICT, LEGACY, RECORDED, Index, Known
from quantum_ops.ledger.journal import Journal, Tail

CLI = "cli"
"""The stream of requests that came from the command line."""

_BY_GIVEN_ID = "operation_id"
_COMPARED = ("operation_name", "risk_class", "changes_summary", "outcome")

Outcome = Literal["recorded", "already", "conflict", "refused"]


@dataclass(frozen=True)
class Receipt:
    """What became of one request.

    ``recorded`` now; ``already`` before, with the same content; ``conflict``: the id belongs to
    another content, and this one is kept as a conflict; ``refused``: nothing is kept, ``problems``
    says why. ``problems`` of the others tell which rules it broke. For what was refused, and for an
    operation of before the ledger, ``seq`` is 0 and ``line`` empty. ``head`` is the tree after it.
    """

    outcome: Outcome
    operation_id: str
    seq: int = 0
    line: bytes = b""
    problems: tuple[str, ...] = ()
    head: merkle.Head = merkle.NONE


class Batch:
    """Requests that are recorded together: what is decided so far, and not yet written."""

    def __init__(self, folder: Folder, tail: Tail, index: Index, now: datetime) -> None:
        self.folder, self.tail, self.index, self.now = folder, tail, index, now
        self.records: list[dict[str, Any]] = []
        self._operations: dict[str, Known] = {}
        self._conflicts: dict[tuple[str, str], int] = {}
        self._origins: dict[tuple[str, str], int] = {}
        self._numbers: dict[str, int] = {}
        self._host = socket.gethostname().encode("ascii", "backslashreplace").decode()
        self._lines: dict[int, bytes] = {}

    def adopt(self) -> None:
        """Take in what was kept by hand before there was a journal."""
        for found in adopt.pending(self.folder):
            self._add(LEGACY, found, operation_id="", source=("", ""), occurred_at=self.now)
        self.write()

    def take(self, request: Request) -> Receipt:
        """Decide about one request. What it holds of secrets is gone before it is compared."""
        request = entry.redacted(request)
        known = self._origin(request.stream, request.stream_id)
        if known:
            return self._before(known)
        try:
            return self._decide(request)
        except InvalidEntryError as error:
            return Receipt("refused", request.operation_id, problems=(str(error),))

    def write(self) -> None:
        """Append what was decided, durably."""
        written = self.tail.append(self.records)
        self.index.add(written, self.tail)
        first = self.tail.seq - len(written) + 1
        self._lines |= {first + at: line for at, (_, line) in enumerate(written)}
        self.records = []

    def note(self, kind: str, found: Mapping[str, Any]) -> None:
        """Add a record that is no operation."""
        self._add(kind, found, operation_id="", source=("", ""), occurred_at=self.now)

    def finish(self, receipt: Receipt) -> Receipt:
        """``receipt`` with the line it speaks of, and the tree after all of them."""
        line = self._lines.get(receipt.seq) or self._line(receipt.seq)
        return replace(receipt, line=line, head=self.index.head())

    def _decide(self, request: Request) -> Receipt:
        problems = entry.check(request)
        occurred_at = request.occurred_at or self.now
        given, source = request.operation_id, (request.stream, request.stream_id)
        valid = bool(given) and ids.is_valid(given)
        if valid:
            found = entry.data(request, given, occurred_at)
            known = self._operation(given)
            if known:
                return self._again(request, known, found, occurred_at)
        if given:
            wrong = _why_unusable(given, occurred_at)
            if wrong:
                problems.append(wrong)
                given = ""
                if request.stream in ("", CLI):
                    # Under this text the repeat of a deploy is recognised, as it would be by an id.
                    same = entry.content_digest(
                        entry.data(request, request.operation_id, occurred_at)
                    )
                    source = (_BY_GIVEN_ID, same)
                    before = self._origin(*source)
                    if before:
                        return self._before(before)
        problems += self._wrong_rollback(request, problems)
        if problems and request.strict:
            raise InvalidEntryError("; ".join(problems))
        operation_id = given or self._next(occurred_at)
        found = entry.data(request, operation_id, occurred_at)
        if problems:
            found["validation_problems"] = problems
        if not given and request.operation_id:
            found["operation_id_given"] = request.operation_id
        digest = entry.content_digest(found)
        seq = self._add(
            RECORDED, found, operation_id=operation_id, source=source, occurred_at=occurred_at
        )
        self._operations[operation_id] = Known(seq, digest)
        number = ids.parse(operation_id)
        day = number.day.isoformat()
        self._numbers[day] = max(self._last(day), number.number)
        return Receipt("recorded", operation_id, seq, problems=tuple(problems))

    def _again(
        self, request: Request, known: Known, found: dict[str, Any], occurred_at: datetime
    ) -> Receipt:
        """The id was recorded: with this very content, or with another one."""
        operation_id = request.operation_id
        digest = entry.content_digest(found)
        same = digest == known.digest if known.seq else self._as_by_hand(operation_id, found)
        if same:
            return Receipt("already", operation_id, known.seq)
        where = f"record {known.seq}" if known.seq else "the changelog from before the ledger"
        problem = (
            f"operation_id {operation_id} belongs to other content in {where}; give it a new id"
        )
        key = (operation_id, digest)
        seq = self._conflicts.get(key) or self.index.conflict(*key)
        if not seq:
            data = {"operation_id": operation_id, "conflicts_with": known.seq, "rejected": found}
            seq = self._add(
                CONFLICT, data, operation_id=operation_id,
                source=(request.stream, request.stream_id), occurred_at=occurred_at,
            )  # fmt: skip
            self._conflicts[key] = seq
        return Receipt("conflict", operation_id, seq, problems=(problem,))

    def _before(self, seq: int) -> Receipt:
        """The receipt of a request that came before from the same source."""
        pending = seq - self.tail.seq - 1
        if pending >= 0:
            kind, operation_id = self.records[pending]["type"], self.records[pending]["id"]
        else:
            of = canonical.envelope(self._line(seq))
            kind, operation_id = of.type, of.id
        return Receipt("conflict" if kind == CONFLICT else "already", operation_id, seq)

    def _add(
        self,
        kind: str,
        found: Mapping[str, Any],
        *,
        operation_id: str,
        source: tuple[str, str],
        occurred_at: datetime,
    ) -> int:
        made = entry.record(
            kind,
            found,
            operation_id=operation_id,
            source={"stream": source[0], "stream_id": source[1], "host": self._host},
            occurred_at=occurred_at,
            recorded_at=self.now,
        )
        self.records.append(made)
        seq = self.tail.seq + len(self.records)
        if source[0]:
            self._origins[source] = seq
        return seq

    def _wrong_rollback(self, request: Request, problems: Sequence[str]) -> list[str]:
        undone = request.rollback_of
        if problems or not undone or self._operation(undone):
            return []
        return [f"rollback_of '{undone}' is not in the ledger; name an operation that was recorded"]

    def _next(self, occurred_at: datetime) -> str:
        day = occurred_at.astimezone(timezone.utc).date()
        last = self._last(day.isoformat())
        return str(ids.free(day, last, lambda one: bool(self._operation(one))))

    def _last(self, day: str) -> int:
        return max(self._numbers.get(day, 0), self.index.last_number(day))

    def _operation(self, operation_id: str) -> Known | None:
        found = self._operations.get(operation_id)
        if not found:
            found = self.index.operation(operation_id)
        return found

    def _origin(self, stream: str, stream_id: str) -> int:
        if not stream:
            return 0
        return self._origins.get((stream, stream_id)) or self.index.origin(stream, stream_id)

    def _line(self, seq: int) -> bytes:
        place = self.index.place(seq) if seq else None
        return Journal(self.folder).line(place) if place else b""

    def _as_by_hand(self, operation_id: str, found: Mapping[str, Any]) -> bool:
        """Whether the hand-written entry of this id tells of the same operation."""
        for content in render.legacy(Journal(self.folder).lines()).values():
            for fields in adopt.entries(content):
                if fields.get("operation_id") == operation_id:
                    return all(fields.get(name) == found.get(name) for name in _COMPARED)
        return False


def _why_unusable(operation_id: str, occurred_at: datetime) -> str:
    """Why a new operation of this moment cannot have this id; empty if it can."""
    try:
        day = ids.parse(operation_id).day
    except InvalidEntryError as error:
        return f"operation_id {error}"
    done = occurred_at.astimezone(timezone.utc).date()
    if abs(day - done) > ids.NEAR:
        return (
            f"operation_id '{operation_id}' is not of the day of its execution, {done.isoformat()}"
        )
    return ""
