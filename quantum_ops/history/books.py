"""The only place that keeps what was counted and told of each stream, and publishes what is due.

Books and outbox are one file, written as a whole: a Finding and the count that led to it become
durable together, before it is published. Killed in between, the next process publishes it under the
same ``event_id``, which a server that has it takes as a repeat.
"""

from __future__ import annotations

import msgspec

from quantum_ops import client, events
from quantum_ops.errors import QuantumError
from quantum_ops.history.errors import DiskRefusedError
from quantum_ops.history.folder import Folder
from quantum_ops.history.gaps import FINDINGS, Book, Told
from quantum_ops.ledger import durable
from quantum_ops.publisher import Publisher

AUDITOR = "archive"


class _State(msgspec.Struct):
    books: dict[str, Book] = {}
    outbox: list[Told] = []
    number: int = 0


class Books:
    """The books of all streams by key, and the Findings that are not published yet."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self.damaged = ""
        """Why the file could not be read; empty if it could. The books then begin anew."""
        try:
            self._state = msgspec.json.decode(folder.state.read_bytes(), type=_State)
        except FileNotFoundError:
            self._state = _State()
        except ValueError as error:
            self._state = _State()
            self.damaged = f"{folder.state}: {error}; the counts of all streams begin anew"
        self._saved = msgspec.json.encode(self._state)

    def get(self, stream: str) -> Book | None:
        """The book of a stream; None if it was never looked at."""
        return self._state.books.get(stream)

    def put(self, stream: str, book: Book) -> None:
        """Replace a stream's book; durable with the next ``save``."""
        self._state.books[stream] = book

    def tell(self, finding: str, stream: str, detail: str, evidence: tuple[str, ...] = ()) -> None:
        """Put a Finding into the outbox; durable with the next ``save``."""
        self._state.number += 1
        event_id = f"archive/{self._state.number}/{finding}/{stream}"
        self._state.outbox.append(Told(event_id, finding, stream, detail, evidence))

    @property
    def untold(self) -> int:
        """Findings that are not published yet."""
        return len(self._state.outbox)

    def save(self) -> None:
        """Make books and outbox durable, if they changed. Raises :class:`DiskRefusedError`."""
        content = msgspec.json.encode(self._state)
        if content == self._saved:
            return
        try:
            durable.write(self._folder.state, content)
        except OSError as error:
            raise DiskRefusedError(f"{self._folder.state}: {error.strerror or error}") from error
        self._saved = content

    def publish(self, publisher: Publisher) -> list[Told]:
        """Publish what is in the outbox; gives what was. The rest stays for the next call."""
        told: list[Told] = []
        while self._state.outbox:
            one = self._state.outbox[0]
            try:
                publisher.publish(finding_of(one))
            except (QuantumError, *client.SERVER_ERRORS):
                break
            told.append(self._state.outbox.pop(0))
        if told:
            self.save()
        return told


def finding_of(one: Told) -> events.AuditFinding:
    """The event of an outbox entry."""
    severity, _ = FINDINGS[one.finding]
    return msgspec.convert(
        {
            "event_id": one.event_id,
            "occurred_at": events.now(),
            "auditor": AUDITOR,
            "finding": one.finding,
            "severity": severity,
            "subject": one.stream,
            "detail": one.detail,
            "evidence": one.evidence,
        },
        events.AuditFinding,
    )
