"""The only place where deliveries travel: read, guard, decode, handle, settle, recover.

One process, one thread, one consumer. Promises (held by tests/integration/test_promises.py):

- An entry is acknowledged only after its handler returned, and its declared effects MUST be applied
  in the same atomic step, once per entry and group, whatever dies in between.
- An entry that cannot be handled MUST end in the dead letter with its original bytes; it never
  stalls its neighbours or the process.
- After every connection error the consumer's own pending entries come first: a lost reply parks
  entries where a plain read never returns them.
- Entries that lie in hand long enough to be claimed soon MUST be renewed before they are handled;
  those that are no longer ours are left to whoever has them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from quantum_ops import client, entry_id
from quantum_ops.clock import Clock
from quantum_ops.consumer import Bounds, Consumer
from quantum_ops.context import Context
from quantum_ops.errors import Hold
from quantum_ops.handling import Handling
from quantum_ops.holding import Holding
from quantum_ops.inbox import (
    Batch,
    GroupGoneError,
    Inbox,
    RawEntry,
    Receipt,
)
from quantum_ops.lease import Lease
from quantum_ops.observe import BatchReport, Observer, Trouble
from quantum_ops.pace import Pace, back_off_s, is_quick

PENDING_PAGE = 100
CHECKPOINT_EVERY_S = 1.0
CLAIM_EVERY_S = 2.0
"""Seconds between looks for idle entries; also the longest wait for a requeued dead letter."""


class Runner:
    """Runs one consumer on one inbox until ``clock.stopping()``.

    ``on_idle`` is called between batches and while Redis is away, with the state to show
    (``ready``, ``waiting``, ``standby``): heartbeats hang there. ``on_hold`` is told why the
    consumer is held up and for how many seconds; an empty reason says that it goes on.
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
        on_hold: Callable[[str, float], bool] = lambda _reason, _lasted_s: True,
    ) -> None:
        self._consumer = consumer
        self._inbox = inbox
        self._context = context
        self._bounds = bounds
        self._observer = observer
        self._clock = clock
        self._on_idle = on_idle
        self._holding = Holding(context, clock, on_idle, on_hold, self._trouble)
        self._work = Handling(
            consumer, context, bounds, clock, self._trouble, holding=self._holding
        )
        context.alive = lambda: on_idle("ready")
        self._pace = Pace()
        self._heard: list[tuple[BatchReport, Receipt]] = []
        self._claim_due = 0.0
        self._checkpoint_due = 0.0
        self._tick_due = 0.0 if consumer.tick else float("inf")
        self._submitted = False
        self._ahead_s: float | None = None
        self._spent_s = float("inf")
        self._lease = Lease(inbox, bounds.claim_after_s)
        self.handled = 0

    def run(self) -> None:
        """Work until asked to stop. Redis away: wait inside, with back-off. Never exits for it.

        Raises :class:`RefusedError` when the server refuses us for good.
        """
        attempt, handled = 0, 0
        while not self._clock.stopping():
            try:
                self.open()
                # What was read ahead is ours and has been charged: it is finished, too.
                while self._ahead_s is not None or not self._clock.stopping():
                    self.step()
                    attempt = 0
                self.flush()
                self._inbox.checkpoint()
            except GroupGoneError:
                self._forget()
                # Whoever destroys it in a loop must not make us spin.
                self._clock.wait(back_off_s(0))
            except Hold as held:
                self._forget()
                if not self._clock.stopping():
                    self._holding.wait(held)
            except Exception as error:
                self._forget()
                client.refuse_or_raise(error)
                if not client.is_passing(error) and not isinstance(error, client.SERVER_ERRORS):
                    raise
                # Work that went on in between is no attempt that failed: a line that loses some
                # replies must not be waited for as one that is gone.
                attempt, handled = attempt + 1 if self.handled == handled else 1, self.handled
                self._trouble("redis_away", reason=type(error).__name__, error=str(error))
                self._on_idle("waiting")
                self._clock.wait(back_off_s(attempt))
        self._inbox.disconnect()
        if self._consumer.teardown is not None:
            self._consumer.teardown(self._context)

    def open(self) -> None:
        """Make the groups, then finish what was left: own pending entries, then idle ones.

        Raises :class:`Hold`, as :meth:`step` does, while the consumer cannot take anything.
        """
        self._ask()
        for made in self._inbox.ensure_groups():
            # The very first start makes groups too; only a vanished one is an incident.
            if made.vanished:
                gone = "group_gone"
                self._trouble("group_recreated", stream=made.stream, reason=gone, error=made.untold)
        self._idle()
        for stream in self._consumer.streams:
            self._drain(stream.key)
        self._claim()
        self._on_idle("ready")

    def step(self, *, wait: bool = True) -> int:
        """One round trip: settle the last batch, take and handle the next. Gives its size."""
        self._ask()
        now = self._clock.monotonic_s()
        if self._ahead_s is None:
            self._between(now)
        batches = self._take(now, wait=wait)
        begun_s = self._clock.monotonic_s()
        size = 0
        for stream, entries in batches:
            size += len(entries)
            if self._consumer.prepare is not None:
                # What entries of another stream in this very read, or of the batch before, declared
                # must be true before the state of these is fetched: a result finds its plan.
                self.flush()
            ours, _ = self._ours(stream, entries, None)
            good, events = self._work.prepared(stream, ours)
            self._read_ahead(batches)
            self._handle(stream, good, events)
        if size:
            self._spent_s = self._clock.monotonic_s() - begun_s
        else:
            self._idle()
        self._tell()
        self._checkpoint(now)
        self._on_idle("ready")
        return size

    def _between(self, now: float) -> None:
        """What is done while no entries are in hand: all that is pending with us is looked at."""
        if now >= self._claim_due:
            self.flush()
            self._claim()
        if self._work.waiting and self._work.waiting.next_due() <= now:
            self.flush()
            self._retry_due(now)
        self._tick(now)

    def _take(self, now: float, *, wait: bool) -> list[Batch]:
        """The batch that was read ahead, or else the next."""
        asked_s, self._ahead_s = self._ahead_s, None
        batches = [] if asked_s is None else self._exchange(self._bounds.batch, 0, ahead=True)
        if asked_s is None or not (batches or self._clock.stopping()):
            asked_s = now
            batches = self._exchange(self._bounds.batch, self._block_ms(now) if wait else 0)
        self._lease.begin((stream for stream, _ in batches), asked_s)
        return batches

    def _read_ahead(self, batches: list[Batch]) -> None:
        """Let the server get the next batch ready while this one is handled, if that is safe.

        Not with a ``hold``, which is asked before anything is read; not if something is due that
        looks at all pending entries: those read ahead would be handled twice.
        """
        if self._ahead_s is not None:
            return
        now = self._clock.monotonic_s()
        due = min(self._claim_due, self._work.waiting.next_due(), self._tick_due)
        safe = now < due and self._consumer.hold is None and not self._clock.stopping()
        full = any(len(entries) >= self._bounds.batch for _, entries in batches)
        if full and safe and is_quick(self._spent_s, self._bounds.claim_after_s):
            self._inbox.read_ahead(self._bounds.batch)
            self._ahead_s = now

    def _handle(self, stream: str, entries: list[RawEntry], events: list[Any] | None) -> None:
        """Handle the entries, and let what came of them be settled by and by."""
        begun = False
        while True:
            entries, events = self._ours(stream, entries, events)
            if not entries:
                return
            if begun:
                # A batch of slow work may take minutes; whoever is silent is taken for dead.
                self._on_idle("ready")
            # What has to be durable first is made so once for the whole batch.
            if begun and self._consumer.commit is None:
                self._submit()
            count = min(self._pace.size, len(entries))
            begun_s = self._clock.monotonic_s()
            self._work.handle(stream, entries[:count], events and events[:count])
            self._pace.took(count, self._clock.monotonic_s() - begun_s)
            entries, events = entries[count:], events and events[count:]
            begun = True

    def _ours(
        self, stream: str, entries: list[RawEntry], events: list[Any] | None
    ) -> tuple[list[RawEntry], list[Any] | None]:
        """The entries (and their events) that nobody has claimed meanwhile."""
        ours, events = self._lease.keep(stream, entries, events, self._clock.monotonic_s())
        lost = len(entries) - len(ours)
        if lost:
            # Told as what it would have come to at the settlement.
            report = BatchReport(self._consumer.name, fenced=lost)
            self._heard.append((report, Receipt(fenced=lost)))
        return ours, events

    def flush(self) -> None:
        """Settle what is handled, without reading more."""
        if self._work.settlements or self._submitted:
            self._exchange(0, 0)
            self._tell()

    def _submit(self) -> None:
        """Let the server settle what is handled so far while we go on with the batch."""
        self._inbox.submit(self._work.take_settlements())
        self._submitted = True

    @property
    def last_id(self) -> str:
        """Id of the entry that was handled last, empty before the first."""
        return self._work.last_id

    def due_in_s(self) -> float | None:
        """Seconds until the next retry; None if nothing waits."""
        if not self._work.waiting:
            return None
        return max(0.0, self._work.waiting.next_due() - self._clock.monotonic_s())

    def _block_ms(self, now: float) -> int:
        due = min(self._work.waiting.next_due(), self._tick_due)
        return max(1, int(min(self._bounds.block_ms, (due - now) * 1000)))

    def _exchange(self, count: int, block_ms: int, *, ahead: bool = False) -> list[Batch]:
        self._commit()
        settlements, report = self._work.take()
        unheard = bool(settlements) or self._submitted
        # A batch that was read ahead comes before the receipts of what was settled since.
        self._submitted = unheard and ahead
        receipt, batches = self._inbox.exchange(settlements, count, block_ms)
        for stream, id_ in receipt.again:
            self._work.waiting.add(self._clock.monotonic_s(), stream, id_)
        if unheard:
            report.count(receipt)
            self.handled += receipt.acked
            self._heard.append((report, receipt))
        return batches

    def _commit(self) -> None:
        """Let the consumer make durable what is about to be settled; wait as long as that takes.

        Raises :class:`Hold` if the process is asked to stop meanwhile; then nothing is settled.
        """
        if self._consumer.commit is None or not self._work.settlements:
            return
        while True:
            try:
                self._consumer.commit(self._context)
            except Hold as held:
                if not self._holding.wait(held):
                    raise
            else:
                self._holding.over()
                return

    def _tell(self) -> None:
        """Tell the observer what came of settlements: after the next batch, not in its way."""
        heard, self._heard = self._heard, []
        for report, receipt in heard:
            self._observer.settled(report)
            if receipt.fenced:
                self._trouble("fenced", reason="settled_elsewhere", error=str(receipt.fenced))
            if receipt.withdrawn:
                count = str(receipt.withdrawn)
                self._trouble("withdrawn", reason="not_replicated", error=count)
            for id_, error in receipt.failed:
                self._trouble("dead_letter", id_.decode(), reason="effect_failed", error=error)

    def _tick(self, now: float) -> None:
        if self._consumer.tick is None or now < self._tick_due:
            return
        # What was handled must be true before anybody looks at it.
        self.flush()
        self._consumer.tick(self._context)
        self._tick_due = now + self._consumer.tick_s

    def _ask(self) -> None:
        """Raise :class:`Hold` if nothing may be taken now; what is handled is settled first."""
        if self._consumer.hold is None:
            return
        try:
            self._consumer.hold(self._context)
        except Hold:
            self.flush()
            raise
        self._holding.over()

    def _idle(self) -> None:
        if self._consumer.idle is not None:
            self._consumer.idle(self._context)

    def _drain(self, stream: str) -> None:
        """Handle own pending entries one by one, so that a crash charges only its own entry."""
        after = entry_id.ZERO
        while not self._clock.stopping():
            page = self._inbox.pending(stream, after, PENDING_PAGE)
            for pending in page:
                after = pending.entry_id
                if self._clock.stopping():
                    return
                if not self._work.waiting.holds(stream, pending.entry_id):
                    self._redeliver(stream, pending.entry_id, pending.deliveries)
            if len(page) < PENDING_PAGE:
                return

    def _redeliver(self, stream: str, id_: bytes, deliveries: int) -> None:
        entry = self._inbox.reread(stream, id_)
        if entry is None:
            return  # settled or claimed by another process meanwhile
        self._work.again(entry, stream, deliveries + 1)
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
        for stream, id_ in self._work.waiting.pop_due(now):
            if self._clock.stopping():
                return
            page = self._inbox.pending(stream, entry_id.before(id_), 1)
            if page and page[0].entry_id == id_:
                self._redeliver(stream, id_, page[0].deliveries)

    def _checkpoint(self, now: float) -> None:
        if now >= self._checkpoint_due:
            self._inbox.checkpoint()
            self._checkpoint_due = now + CHECKPOINT_EVERY_S

    def _forget(self) -> None:
        """Drop everything that lived in this session; what was not settled is still pending."""
        self._inbox.disconnect()
        self._work.forget()
        self._submitted, self._ahead_s = False, None
        # It may go wrong again: one batch is seen through before any is read ahead.
        self._spent_s = float("inf")

    def _trouble(
        self, kind: str, id_: str = "", *, stream: str = "", attempt: int = 0, reason: str = "",
        error: str = "",
    ) -> None:  # fmt: skip
        self._observer.trouble(
            Trouble(self._consumer.name, kind, stream, id_, attempt, reason, error)
        )
