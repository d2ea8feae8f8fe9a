"""The only place where deliveries travel: read, guard, decode, handle, settle, recover.

One process, one thread, one consumer. Promises (held by tests/integration/test_promises.py):

- An entry is acknowledged only after its handler returned, and its declared effects MUST be applied
  in the same atomic step, once per entry and group, whatever dies in between.
- An entry that cannot be handled MUST end in the dead letter with its original bytes; it never
  stalls its neighbours or the process.
- After every connection error the consumer's own pending entries come first: a lost reply parks
  entries where a plain read never returns them.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from quantum_ops import client, codec, entry_id, outcome
from quantum_ops.clock import Clock
from quantum_ops.consumer import Bounds, Consumer
from quantum_ops.context import Context
from quantum_ops.effects import Command
from quantum_ops.inbox import (
    Batch,
    GroupGoneError,
    GroupMadeAnew,
    Inbox,
    Letter,
    RawEntry,
    Receipt,
    Settlement,
)
from quantum_ops.observe import BatchReport, Observer, Trouble
from quantum_ops.waiting import Waiting

PENDING_PAGE = 100
SLICE = 128
"""Entries of a batch after which their settlement is sent: the server works on it meanwhile."""
CHECKPOINT_EVERY_S = 1.0
CLAIM_EVERY_S = 2.0
"""Seconds between looks for idle entries; also the longest wait for a requeued dead letter."""
BACKOFF_BASE_S = 0.05
BACKOFF_CAP_S = 2.0


class Runner:
    """Runs one consumer on one inbox until ``clock.stopping()``.

    ``on_idle`` is called between batches and while Redis is away, with the state to show
    (``ready``, ``waiting``): heartbeats hang there. ``on_incident`` is told of a group that had to
    be made anew.
    """

    def __init__(
        self,
        consumer: Consumer,
        inbox: Inbox,
        context: Context,
        bounds: Bounds,
        observer: Observer,
        *,
        clock: Clock,
        on_idle: Callable[[str], None] = lambda _state: None,
        on_incident: Callable[[GroupMadeAnew], None] = lambda _made: None,
    ) -> None:
        self._consumer = consumer
        self._inbox = inbox
        self._context = context
        self._bounds = bounds
        self._observer = observer
        self._clock = clock
        self._on_idle = on_idle
        self._on_incident = on_incident
        self._decoders = {stream.key: codec.decoder(stream.event) for stream in consumer.streams}
        self._waiting = Waiting()
        self._settlements: dict[str, Settlement] = {}
        self._report = BatchReport(consumer.name)
        self._heard: list[tuple[BatchReport, Receipt]] = []
        self._claim_due = 0.0
        self._checkpoint_due = 0.0
        self._destroyed = False
        self._submitted = False
        self.handled = 0
        self.last_id = ""

    def run(self) -> None:
        """Work until asked to stop. Redis away: wait inside, with back-off. Never exits for it.

        Raises :class:`RefusedError` when the server refuses us for good.
        """
        attempt = 0
        while not self._clock.stopping():
            try:
                self.open()
                while not self._clock.stopping():
                    self.step()
                    attempt = 0
                self.flush()
                self._inbox.checkpoint()
            except GroupGoneError:
                self._forget()
                self._destroyed = True
                # Whoever destroys it in a loop must not make us spin.
                self._clock.wait(BACKOFF_BASE_S)
            except Exception as error:
                self._forget()
                client.refuse_or_raise(error)
                if not client.is_passing(error) and not isinstance(error, client.SERVER_ERRORS):
                    raise
                attempt += 1
                self._trouble("redis_away", reason=type(error).__name__, error=str(error))
                self._on_idle("waiting")
                pause = min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2 ** min(attempt, 10))
                self._clock.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter

    def open(self) -> None:
        """Make the groups, then finish what was left: own pending entries, then idle ones."""
        for made in self._inbox.ensure_groups():
            # The very first start makes groups too; only a vanished one is an incident.
            if made.checkpoint or self._destroyed:
                self._trouble("group_recreated", stream=made.stream, reason="group_gone")
                self._on_incident(made)
        self._destroyed = False
        for stream in self._consumer.streams:
            self._drain(stream.key)
        self._claim()
        self._on_idle("ready")

    def step(self, *, wait: bool = True) -> int:
        """One round trip: settle the last batch, read and handle the next. Gives its size."""
        now = self._clock.monotonic_s()
        if now >= self._claim_due:
            self.flush()
            self._claim()
        if self._waiting and self._waiting.next_due() <= now:
            self.flush()
            self._retry_due(now)
        block_ms = self._block_ms(now) if wait else 0
        batches = self._exchange(self._bounds.batch, block_ms)
        size = 0
        for stream, entries in batches:
            size += len(entries)
            if self._consumer.prepare is not None:
                self._handle_prepared(stream, entries)
                continue
            for start in range(0, len(entries), SLICE):
                if start:
                    self._submit()
                self._handle(stream, entries[start : start + SLICE])
        self._tell()
        self._checkpoint(now)
        self._on_idle("ready")
        return size

    def flush(self) -> None:
        """Settle what is handled, without reading more."""
        if self._settlements or self._submitted:
            self._exchange(0, 0)
            self._tell()

    def _submit(self) -> None:
        """Let the server settle what is handled so far while we go on with the batch."""
        settlements, self._settlements = self._settlements, {}
        self._inbox.submit(settlements)
        self._submitted = True

    def due_in_s(self) -> float | None:
        """Seconds until the next retry; None if nothing waits."""
        if not self._waiting:
            return None
        return max(0.0, self._waiting.next_due() - self._clock.monotonic_s())

    def _block_ms(self, now: float) -> int:
        block_s = self._bounds.block_ms / 1000
        if self._waiting:
            block_s = min(block_s, self._waiting.next_due() - now)
        return max(1, int(block_s * 1000))

    def _exchange(self, count: int, block_ms: int) -> list[Batch]:
        settlements, self._settlements = self._settlements, {}
        report, self._report = self._report, BatchReport(self._consumer.name)
        unheard, self._submitted = bool(settlements) or self._submitted, False
        receipt, batches = self._inbox.exchange(settlements, count, block_ms)
        if unheard:
            report.count(receipt)
            self.handled += receipt.acked
            self._heard.append((report, receipt))
        return batches

    def _tell(self) -> None:
        """Tell the observer what came of settlements: after the next batch, not in its way."""
        heard, self._heard = self._heard, []
        for report, receipt in heard:
            self._observer.settled(report)
            if receipt.fenced:
                self._trouble("fenced", reason="settled_elsewhere", error=str(receipt.fenced))
            for id_, error in receipt.failed:
                self._trouble("dead_letter", id_.decode(), reason="effect_failed", error=error)

    def _handle(self, stream: str, entries: list[RawEntry]) -> None:
        """The plain way of a batch; everything else is the exception's business."""
        settlement = self._settlement(stream)
        decode = self._decoders[stream]
        handler = self._consumer.handler
        context = self._context
        context.stream = stream
        context.attempt = 1
        commands: list[Command] = []
        context.commands = commands
        acks, applied = settlement.acks, settlement.applied
        durations = self._report.durations_s
        clock = time.perf_counter
        started = clock()
        if entries:
            now_s = self._clock.now_s()
            self._report.ages_s.append(entry_id.age_s(entries[0][0], now_s))
        for entry in entries:
            id_, flat = entry
            context.raw_id = id_
            try:
                handler(decode(flat), context)
            except Exception as error:  # noqa: BLE001 - whatever a handler raises is an outcome
                self._failed(settlement, entry, stream, 1, error)
                commands = []
                context.commands = commands
            else:
                if commands:
                    applied.append((id_, 1, commands))
                    commands = []
                    context.commands = commands
                else:
                    acks.append(id_)
            ended = clock()
            durations.append(ended - started)
            started = ended
        if entries:
            self.last_id = entries[-1][0].decode()

    def _handle_prepared(self, stream: str, entries: list[RawEntry]) -> None:
        """Decode all, let ``prepare`` fetch their state at once, then handle one by one."""
        settlement = self._settlement(stream)
        events: list[tuple[RawEntry, Any]] = []
        for entry in entries:
            try:
                events.append((entry, self._decoders[stream](self._payload(entry))))
            except Exception as error:  # noqa: BLE001 - an undecodable entry is an outcome
                self._failed(settlement, entry, stream, 1, error)
        self._context.stream = stream
        try:
            self._prepare([event for _, event in events])
        except Exception as error:  # noqa: BLE001 - as if each handler had raised it
            for entry, _ in events:
                self._failed(settlement, entry, stream, 1, error)
            return
        for entry, event in events:
            self._one(settlement, entry, stream, 1, event)
        if entries:
            self.last_id = entries[-1][0].decode()

    def _prepare(self, events: list[Any]) -> None:
        if self._consumer.prepare is not None and events:
            self._context.state = self._consumer.prepare(events, self._context)

    def _one(
        self, settlement: Settlement, entry: RawEntry, stream: str, attempt: int, event: Any
    ) -> None:
        context = self._context
        context.stream = stream
        context.raw_id = entry[0]
        context.attempt = attempt
        context.commands = []
        started = self._clock.monotonic_s()
        try:
            self._consumer.handler(event, context)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is an outcome
            self._failed(settlement, entry, stream, attempt, error)
        else:
            if context.commands:
                settlement.applied.append((entry[0], attempt, context.commands))
            else:
                settlement.acks.append(entry[0])
        self._report.durations_s.append(self._clock.monotonic_s() - started)

    @staticmethod
    def _payload(entry: RawEntry) -> list[bytes]:
        if entry[1] is None:
            raise outcome.PayloadLostError
        return entry[1]  # type: ignore[no-any-return]  # RawEntry is the client's own shape

    def _failed(
        self, settlement: Settlement, entry: RawEntry, stream: str, attempt: int, error: Exception
    ) -> None:
        """Turn what was raised into its outcome: lost, dead letter or retry."""
        if isinstance(error, client.TRANSPORT_ERRORS):
            # Redis went away under the handler: nobody's fault, and the whole session is over.
            raise error
        id_, flat = entry
        ending = outcome.judge(error, lost=flat is None, attempt=attempt, bounds=self._bounds)
        if isinstance(ending, outcome.Bury):
            self._letter(settlement, stream, Letter(id_, attempt, *ending))
            return
        self._waiting.add(self._clock.monotonic_s() + ending.after_s, stream, id_)
        self._trouble(
            "retry", id_.decode(), stream=stream, attempt=attempt, reason=ending.reason,
            error=ending.error,
        )  # fmt: skip

    def _letter(self, settlement: Settlement, stream: str, letter: Letter) -> None:
        settlement.letters.append(letter)
        kind = "lost" if letter.reason == "payload_lost" else "dead_letter"
        self._trouble(
            kind, letter.entry_id.decode(), stream=stream, attempt=letter.deliveries,
            reason=letter.reason, error=letter.error,
        )  # fmt: skip

    def _drain(self, stream: str) -> None:
        """Handle own pending entries one by one, so that a crash charges only its own entry."""
        after = entry_id.ZERO
        while not self._clock.stopping():
            page = self._inbox.pending(stream, after, PENDING_PAGE)
            for pending in page:
                after = pending.entry_id
                if self._clock.stopping():
                    return
                if not self._waiting.holds(stream, pending.entry_id):
                    self._redeliver(stream, pending.entry_id, pending.deliveries)
            if len(page) < PENDING_PAGE:
                return

    def _redeliver(self, stream: str, id_: bytes, deliveries: int) -> None:
        entry = self._inbox.reread(stream, id_)
        if entry is None:
            return  # settled or claimed by another process meanwhile
        settlement = self._settlement(stream)
        attempt = deliveries + 1
        if entry[1] is not None and attempt > self._bounds.max_deliveries:
            # The handler is not called again: it may be what kills the process each time.
            ending = outcome.exhausted(deliveries)
            self._letter(settlement, stream, Letter(id_, deliveries, *ending))
        else:
            try:
                event = self._decoders[stream](self._payload(entry))
                self._context.stream = stream
                self._prepare([event])
            except Exception as error:  # noqa: BLE001 - an outcome like any other
                self._failed(settlement, entry, stream, attempt, error)
            else:
                self._one(settlement, entry, stream, attempt, event)
        self.last_id = id_.decode()
        self.flush()

    def _claim(self) -> None:
        """Take over what other processes left lying, then handle it as our own."""
        idle_ms = int(self._bounds.claim_after_s * 1000)
        for stream in self._consumer.streams:
            claimed = self._inbox.claim(stream.key, idle_ms)
            for id_ in claimed.lost:
                self._trouble("lost", id_.decode(), stream=stream.key, reason="payload_lost")
            if claimed.entry_ids:
                self._drain(stream.key)
        every_s = min(CLAIM_EVERY_S, max(0.05, self._bounds.claim_after_s / 4))
        self._claim_due = self._clock.monotonic_s() + every_s

    def _retry_due(self, now: float) -> None:
        for stream, id_ in self._waiting.pop_due(now):
            if self._clock.stopping():
                return
            page = self._inbox.pending(stream, entry_id.before(id_), 1)
            if page and page[0].entry_id == id_:
                self._redeliver(stream, id_, page[0].deliveries)

    def _checkpoint(self, now: float) -> None:
        if now >= self._checkpoint_due:
            self._inbox.checkpoint()
            self._checkpoint_due = now + CHECKPOINT_EVERY_S

    def _settlement(self, stream: str) -> Settlement:
        found = self._settlements.get(stream)
        if found is None:
            found = self._settlements[stream] = Settlement()
        return found

    def _forget(self) -> None:
        """Drop everything that lived in this session; what was not settled is still pending."""
        self._inbox.disconnect()
        self._settlements = {}
        self._submitted = False
        self._report = BatchReport(self._consumer.name)
        self._waiting = Waiting()

    def _trouble(
        self, kind: str, id_: str = "", *, stream: str = "", attempt: int = 0, reason: str = "",
        error: str = "",
    ) -> None:  # fmt: skip
        self._observer.trouble(
            Trouble(self._consumer.name, kind, stream, id_, attempt, reason, error)
        )
