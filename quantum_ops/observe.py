"""The only place that says what the runner tells about its work; metrics and logs listen here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from quantum_ops.inbox import Receipt


@dataclass(slots=True)
class BatchReport:
    """One settled batch of one consumer.

    ``durations_s`` holds the handler time of each entry, ``oldest_age_s`` the age of the first
    entry when it was handled. Counts are entries.
    """

    group: str
    acked: int = 0
    fenced: int = 0
    skipped: int = 0
    failed: int = 0
    durations_s: list[float] = field(default_factory=list)
    ages_s: list[float] = field(default_factory=list)

    def count(self, receipt: Receipt) -> None:
        """Take over what the server made of the batch."""
        self.acked, self.fenced = receipt.acked, receipt.fenced
        self.skipped, self.failed = receipt.skipped, len(receipt.failed)


@dataclass(frozen=True, slots=True)
class Trouble:
    """One entry (or the group itself) that did not go the plain way.

    ``kind`` is one of ``retry``, ``dead_letter``, ``lost``, ``fenced``, ``group_recreated``,
    ``redis_away``, ``last_words_failed``, ``held_up``, ``standby``, ``withdrawn``.
    ``reason`` is a short code from a closed set, fit as a metric label.
    """

    group: str
    kind: str
    stream: str = ""
    entry_id: str = ""
    attempt: int = 0
    reason: str = ""
    error: str = ""


class Observer(Protocol):
    """Told of every outcome, once. MUST not raise and MUST not block."""

    def settled(self, report: BatchReport) -> None:
        """A batch is acknowledged."""
        ...

    def trouble(self, trouble: Trouble) -> None:
        """Something did not go the plain way."""
        ...


class Observers:
    """Passes everything on to several observers."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def settled(self, report: BatchReport) -> None:
        """See :class:`Observer`."""
        for observer in self._observers:
            observer.settled(report)

    def trouble(self, trouble: Trouble) -> None:
        """See :class:`Observer`."""
        for observer in self._observers:
            observer.trouble(trouble)


class LogObserver:
    """Writes one line for each trouble; acknowledgements and asked retries at debug level only."""

    def __init__(self, log: Any) -> None:
        self._log = log

    def settled(self, report: BatchReport) -> None:
        """See :class:`Observer`."""
        self._log.debug("settled", acked=report.acked, fenced=report.fenced, skipped=report.skipped)

    def trouble(self, trouble: Trouble) -> None:
        """See :class:`Observer`."""
        fields = {
            "stream": trouble.stream,
            "entry_id": trouble.entry_id,
            "attempt": trouble.attempt,
            "reason": trouble.reason,
            "error": trouble.error,
        }
        shown = {name: value for name, value in fields.items() if value}
        # A handler that asked for a later delivery is at work, not in trouble.
        asked = trouble.kind == "retry" and trouble.reason == "asked"
        if trouble.kind == "standby":
            self._log.info(trouble.kind, group=trouble.group, **shown)
            return
        log = self._log.debug if asked else self._log.warning
        log(trouble.kind, group=trouble.group, **shown)
